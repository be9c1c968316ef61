//! Screens as they are drawn, from segments as weir writes them.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};
use weir_stats::Liveness;

use super::model::Wish;
use super::trial::Trial;

/// A weir that has forwarded for a while.
fn busy() -> Trial {
    let mut trial = Trial::new();
    trial.pass(1_000_000, 500);
    trial.read(0.0);
    for second in 1..=20 {
        trial.pass(10_000 * second, 30);
        trial.read(2.0);
    }
    trial
}

#[track_caller]
fn shows(screen: &str, expected: &str) {
    assert!(screen == expected, "this is to be seen:\n{screen}");
}

#[test]
fn ports() {
    shows(
        &busy().screen(80, 24),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█
端口       0      0   100k   800M       0       0        0        0       ▂▃▄▅▆█
[17 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn ports_on_a_wide_screen() {
    shows(&busy().screen(200, 60), "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps                                                    rx total tx total   lost
eth1    100k   800M      0      0    15.0       0        0        0                                                       ▂▃▄▅▆█   3.100M        0   1100
端口       0      0   100k   800M       0       0        0        0                                                       ▂▃▄▅▆█        0   3.099M      0
[53 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads  z zeros  p pause  +- interval
");
}

#[test]
fn columns_leave_by_their_rank() {
    let mut trial = busy();
    shows(
        &trial.screen(60, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s misses/s rx+tx bps
eth1    100k   800M      0      0    15.0        0    ▂▃▄▅▆█
端口       0      0   100k   800M       0        0    ▂▃▄▅▆█

q quit  ? help  Tab view  / filter  s sort  t totals
",
    );
    shows(
        &trial.screen(40, 10),
        "\
live  pid 4242  up 1:02:03  1 worker
in  100k pps  800M bps
 1 Ports    2 Nodes    3 Drops
port  rx pps rx bps tx pps tx bps
eth1    100k   800M      0      0
端口       0      0   100k   800M
[3 empty lines]
q quit  ? help  Tab view  / filter
",
    );
    shows(
        &trial.screen(20, 6),
        "\
live  up 1:02:03
 1 Ports    2 Nodes
port  rx pps tx pps
eth1    100k      0
端口       0   100k

",
    );
    shows(
        &trial.screen(12, 4),
        "\
live
in  100k pp…
port  rx pps
eth1    100k
",
    );
}

#[test]
fn what_matters_most_is_left_on_a_tiny_screen() {
    let mut trial = busy();
    shows(
        &trial.screen(60, 3),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps

",
    );
    shows(
        &trial.screen(30, 2),
        "\
live  pid 4242  up 1:02:03
in  100k pps  800M bps
",
    );
    shows(
        &trial.screen(7, 1),
        "\
live
",
    );
    shows(
        &trial.screen(3, 5),
        "\
li…
 1…
po…
et…
端…
",
    );
    shows(
        &trial.screen(1, 1),
        "\
…
",
    );
}

#[test]
fn each_thread_or_their_sum_totals_or_rates() {
    let mut trial = busy();
    trial.keys("w");
    shows(
        &trial.screen(80, 12),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  thread  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s
eth1  main         0      0      0      0       0       0        0        0
eth1  0         100k   800M      0      0    15.0       0        0        0
端口  main         0      0      0      0       0       0        0        0
端口  0            0      0   100k   800M       0       0        0        0
[3 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.keys("wt");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx packets rx bytes tx packets tx bytes  drops  punts misses rx+tx bps
eth1      3.100M   3.100G          0        0   1100      0      0        ▂▃▄▅▆█
端口           0        0     3.099M   3.099G      0      0      0        ▂▃▄▅▆█

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.keys("2w");
    trial.read(1.0);
    shows(
        &trial.screen(80, 14),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in     0 pps     0 bps  out     0 pps     0 bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
node       thread   calls packets packets/call clocks/packet of clocks   held
ip4-lookup 0       310000  3.100M         10.0          60.0     50.0%      0
tx         0       310000  3.100M         10.0          40.0     33.3%      3
ip4-input  0       310000  3.100M         10.0          20.0     16.7%      0
ip4-input  main         0       0            -             -         -      0
ip4-lookup main         0       0            -             -         -      0
tx         main         0       0            -             -         -      0
[3 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn nodes_have_no_rates_before_they_were_read_twice() {
    let mut trial = busy();
    trial.keys("2");
    trial.pass(100, 0);
    trial.read(1.0);
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in   100 pps  800k bps  out   100 pps  800k bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
node       calls/s packets/s packets/call clocks/packet of clocks   held
ip4-input        -         -            -             -         -      0
ip4-lookup       -         -            -             -         -      0
tx               -         -            -             -         -      3
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.pass(1000, 0);
    trial.read(0.5);
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in 2.00k pps 16.0M bps  out 2.00k pps 16.0M bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
node       calls/s packets/s packets/call clocks/packet of clocks   held
ip4-lookup     200     2.00k         10.0          60.0     50.0%      0
tx             200     2.00k         10.0          40.0     33.3%      3
ip4-input      200     2.00k         10.0          20.0     16.7%      0
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn drops_that_go_on_come_first() {
    let mut trial = busy();
    trial.keys("3");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
node       reason       drops/s  total last minutes
ip4-lookup no-route        15.0   1100                                   ███████
ip4-input  bad-checksum       0      0
tx         ring-full          0      0
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.keys("z");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  no zeros  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
node       reason   drops/s  total last minutes
ip4-lookup no-route    15.0   1100                                       ███████


q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn workers() {
    let mut trial = busy();
    trial.keys("4");
    trial.read(1.0);
    trial.pass(100, 0);
    trial.read(1.0);
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in   100 pps  800k bps  out   100 pps  800k bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
thread  rx pps packets/call loops/s sleeps/s   free   held
0          100           12   50.0k        0   4096      0


q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn a_filter_is_seen_while_it_is_typed_and_later() {
    let mut trial = busy();
    trial.keys("/TH");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  only /TH/  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█


/TH  Enter: keep it  Esc: as before
",
    );
    shows(
        &trial.screen(80, 5),
        "\
/TH  Enter: keep it  Esc: as before
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█

",
    );
    let mut terminal = Terminal::new(TestBackend::new(80, 8)).unwrap();
    trial.draw(&mut terminal);
    terminal.backend_mut().assert_cursor_position((3, 7));
    trial.key(KeyCode::Enter);
    trial.keys("r");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  only /TH/  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█


q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.keys("/x");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  only /THx/  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers   nothing matches
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
[3 empty lines]
/THx  Enter: keep it  Esc: as before
",
    );
    trial.key(KeyCode::Esc);
    assert_eq!(trial.model.filter(), Some("TH"), "as before");
    assert_eq!(trial.key(KeyCode::Esc), Some(Wish::Draw));
    assert_eq!(trial.model.filter(), None);
    assert_eq!(trial.key(KeyCode::Esc), Some(Wish::Quit));
}

#[test]
fn the_order_of_rows_is_seen() {
    let mut trial = busy();
    trial.keys("ss");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers   by rx pps
port ▼rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█
端口       0      0   100k   800M       0       0        0        0       ▂▃▄▅▆█

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.keys("rs<");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers   by rx pps, reversed
port ▲rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
端口       0      0   100k   800M       0       0        0        0       ▂▃▄▅▆█
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn a_weir_that_is_gone_is_waited_for() {
    let mut trial = busy();
    trial.model.wait("no such socket".to_owned());
    shows(
        &trial.screen(80, 8),
        "\
waiting for weir at /run/weir/stats.sock: no such socket  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       ▂▃▄▅▆█
端口       0      0   100k   800M       0       0        0        0       ▂▃▄▅▆█

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    shows(
        &trial.screen(20, 2),
        "\
waiting for weir at…
in  100k pps  800M …
",
    );
    let mut terminal = Terminal::new(TestBackend::new(80, 8)).unwrap();
    trial.draw(&mut terminal);
    let cell = &terminal.backend().buffer()[(11, 4)];
    assert!(cell.symbol() == "k" && cell.modifier.contains(Modifier::DIM), "{cell:?}");
    trial.restart();
    trial.pass(5, 0);
    trial.read(1.0);
    shows(
        &trial.screen(80, 8),
        "\
live  restarted: rates begin anew  pid 4242  up 1:02:03  1 worker  every 1 s
in     - pps     - bps  out     - pps     - bps  drops     -/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1       -      -      -      -       -       -        -        -
端口       -      -      -      -       -       -        -        -

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.pass(5, 0);
    trial.read(1.0);
    shows(
        &trial.screen(80, 8),
        "\
live  restarted: rates begin anew  pid 4242  up 1:02:03  1 worker  every 1 s
in  5.00 pps 40.0k bps  out  5.00 pps 40.0k bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    5.00  40.0k      0      0       0       0        0        0            █
端口       0      0   5.00  40.0k       0       0        0        0            █

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn a_weir_that_is_stuck_is_said_to_be() {
    let mut trial = busy();
    trial.read_as(1.0, Liveness::Stuck { pid: 4242, age: Duration::from_secs(5) });
    trial.keys("p+");
    shows(
        &trial.screen(80, 8),
        "\
stuck for 5 s  paused  pid 4242  up 1:02:03  1 worker  every 2 s
in     0 pps     0 bps  out     0 pps     0 bps  drops     0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1       0      0      0      0       0       0        0        0       ▂▃▅▆█▇
端口       0      0      0      0       0       0        0        0       ▂▃▅▆█▇

q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn the_keys_are_explained() {
    let mut trial = busy();
    trial.keys("?");
    shows(
        &trial.screen(80, 24),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
weirstat top
1 2 3 …         views, by number
Tab, Shift-Tab  next view, the one before; also → and ←
↑ ↓ PgUp PgDn   move; also k, j; Home, End or g, G: first, last row
Enter           in Tree: unfold the customers of a node, fold it, open it again
s or >, <       sort by the next column, by the one before
r               reverse the order
/               show only names that match (regular expression, either case)
t               totals since weir's start, or rates
w               a line for each thread, or their sum
z               hide rows of zeros
p or Space      pause; what is counted meanwhile is in the next rates
+ or -          read less often, more often
Ctrl-L          draw everything anew
Ctrl-Z          stop; fg goes on
? or h          this help
Esc             close the help, remove the filter, or quit
q or Ctrl-C     quit
                pps, bps: packets, bits a second; k, M, G: powers of 1000


q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.key(KeyCode::End);
    shows(
        &trial.screen(50, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps
weirstat top
? or h          this help
Esc             close the help, remove the filter…
q or Ctrl-C     quit
                pps, bps: packets, bits a second;…
q quit  ? help  Tab view  / filter  s sort
",
    );
}

#[test]
fn a_segment_of_something_else_has_no_views() {
    let mut trial = Trial::empty();
    shows(
        &trial.screen(80, 8),
        "\
connecting  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
[5 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    trial.read_as(0.0, Liveness::Unknown);
    shows(
        &trial.screen(80, 8),
        "\
segment  pid 4242  up 1:02:03  1 worker  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s

nothing that top knows is in this segment
[3 empty lines]
q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
}

#[test]
fn a_segment_that_is_not_as_it_should_be_is_shown_as_far_as_it_goes() {
    let mut trial = Trial::empty();
    let publish = |batch: &mut weir_stats::Batch<'_>| {
        let mut names = batch.names("/if/names", 2)?;
        batch.set_name(&mut names, 0, "short")?;
        batch.set_name(&mut names, 1, "without-counters")?;
        // Of another kind, too short, or not there.
        batch.simple("/if/rx", 1, 1)?.take_row(1).unwrap().add(0, 7);
        batch.gauge("/if/tx", 5)?;
        batch.names("/if/drops", 1)?;
        let mut nodes = batch.names("/sys/node/names", 1)?;
        batch.set_name(&mut nodes, 0, "lonely")?;
        batch.gauge("/err/no-slash", 1)?;
        batch.gauge("/sys/vector_rate_per_worker", 3)
    };
    trial.segment().register(publish).unwrap();
    for key in ["1", "2", "3", "4", "w", "t", "1", "2", "3", "4"] {
        trial.keys(key);
        trial.read(1.0);
        trial.screen(80, 24);
    }
    trial.keys("1wt");
    shows(
        &trial.screen(60, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  every 1 s
in     0 pps     0 bps  out     - pps     - bps
 1 Ports    2 Nodes    3 Drops    4 Workers
port            rx pps rx bps tx pps tx bps drops/s misses/s
short                0      0      -      -       -        -
without-counte…      0      0      -      -       -        -

q quit  ? help  Tab view  / filter  s sort  t totals
",
    );
}

#[test]
fn colours_and_characters_are_those_that_the_user_wants() {
    let styles = |trial: &mut Trial| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        trial.draw(&mut terminal);
        let cells = terminal.backend().buffer().content.iter();
        let colours = cells.clone().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        (colours, cells.clone().any(|cell| !cell.modifier.is_empty()))
    };
    let mut trial = busy();
    assert_eq!(styles(&mut trial), (true, true));
    trial.see_as(&[("TERM", "xterm"), ("NO_COLOR", "1")]);
    assert_eq!(styles(&mut trial), (false, true));
    trial.see_as(&[("TERM", "dumb"), ("LC_ALL", "C")]);
    assert_eq!(styles(&mut trial), (false, false));
    trial.keys("/eth1");
    trial.key(KeyCode::Enter);
    trial.keys("ss");
    shows(
        &trial.screen(80, 8),
        "\
live  pid 4242  up 1:02:03  1 worker  only /eth1/  every 1 s
in  100k pps  800M bps  out  100k pps  800M bps  drops  15.0/s  12 packets/call
 1 Ports    2 Nodes    3 Drops    4 Workers   by rx pps
port  rx pps rx bps tx pps tx bps drops/s punts/s misses/s tx-err/s rx+tx bps
eth1    100k   800M      0      0    15.0       0        0        0       :-=+*#


q quit  ? help  Tab view  / filter  s sort  r reverse  t totals  w threads
",
    );
    let screen = trial.screen(40, 10);
    assert!(screen.is_ascii(), "{screen}");
}

/// What may happen to a live view.
#[derive(Clone, Debug)]
enum Step {
    Key(KeyCode),
    Pass(u64, u64),
    Read(f64),
    Gone,
    Restart,
    Draw(u16, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = "123456789sr/tzwp+-<>jkgG?h .^$(端e".chars().map(KeyCode::Char).collect::<Vec<_>>();
    let others = [
        KeyCode::Esc,
        KeyCode::Enter,
        KeyCode::Backspace,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::PageDown,
        KeyCode::PageUp,
        KeyCode::End,
        KeyCode::Home,
        KeyCode::Up,
        KeyCode::Down,
    ];
    prop_oneof![
        8 => prop::sample::select([keys, others.to_vec()].concat()).prop_map(Step::Key),
        2 => (any::<u32>(), 0..10_u64).prop_map(|(packets, drops)| Step::Pass(u64::from(packets) + drops, drops)),
        3 => prop_oneof![Just(0.0), Just(1e-9), 0.1..100.0].prop_map(Step::Read),
        1 => Just(Step::Gone),
        1 => Just(Step::Restart),
        4 => (1..=120_u16, 1..=40_u16).prop_map(|(width, height)| Step::Draw(width, height)),
        2 => (1..=12_u16, 1..=12_u16).prop_map(|(width, height)| Step::Draw(width, height)),
    ]
}

proptest! {
    #[test]
    fn nothing_that_happens_makes_it_stumble(steps in prop::collection::vec(step(), 1..60)) {
        let mut trial = Trial::new();
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        for step in steps {
            match step {
                Step::Key(key) => drop(trial.key(key).is_some()),
                Step::Pass(packets, dropped) => trial.pass(packets, dropped),
                Step::Read(seconds) => trial.read(seconds),
                Step::Gone => trial.model.wait("gone".to_owned()),
                Step::Restart => trial.restart(),
                Step::Draw(width, height) => terminal.backend_mut().resize(width, height),
            }
            trial.draw(&mut terminal);
            let text = terminal.backend().to_string();
            prop_assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
        }
    }
}
