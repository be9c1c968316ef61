//! Screens of the shaper's tree.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};
use weir_stats::{Options, Segment};

use super::model::Wish;
use super::trial::Trial;
use crate::shaped::Shaped;

/// What `busy` counts, and who looks at it.
fn shaping() -> (Shaped, Trial) {
    let nodes =
        [("net", "", None), ("West", "site", Some(0)), ("East", "site", Some(0)), ("AP 7", "ap", Some(1))];
    let customers = [
        ("4711", "Alice Smith", "", Some(3)),
        ("4712", "", "", Some(3)),
        ("4713", "", "", Some(2)),
        ("4714", "", "", Some(1)),
    ];
    let mut shaped = Shaped::new(false, &nodes, &customers);
    for (node, max) in [(0, 2_000_000_000), (1, 1_000_000_000), (2, 500_000_000), (3, 200_000_000)] {
        shaped.rates("/shaper/nodes/down", node, [0, max, max - max / 10]);
        shaped.rates("/shaper/nodes/up", node, [0, max / 10, max / 10]);
    }
    for customer in 0..4 {
        shaped.rates("/shaper/customers/down", customer, [1_000_000, 200_000_000, 90_000_000]);
        shaped.rates("/shaper/customers/up", customer, [500_000, 20_000_000, 20_000_000]);
    }
    let small = Options { size: 64 << 10, ..Options::default() };
    let segment = std::mem::replace(&mut shaped.segment, Segment::in_heap(small).unwrap());
    let mut trial = Trial::of(segment);
    trial.read(0.0);
    trial.keys("2");
    trial.read(0.0);
    (shaped, trial)
}

/// So many times, in one second: 4711 gets 22.5 MB and loses ten packets, 4713 sends 0.1 MB.
fn pass(shaped: &mut Shaped, times: u64) {
    let (node, customer) = ("/shaper/nodes", "/shaper/customers");
    for at in [0, 1, 3] {
        shaped.pair(&format!("{node}/down/sent"), at, 15_000 * times, 22_500_000 * times);
        shaped.pair(&format!("{node}/down/backlog"), at, 30, 45_420);
    }
    for at in [0, 2] {
        shaped.pair(&format!("{node}/up/sent"), at, 100 * times, 100_000 * times);
    }
    shaped.pair(&format!("{customer}/down/sent"), 0, 15_000 * times, 22_500_000 * times);
    shaped.pair(&format!("{customer}/up/sent"), 2, 100 * times, 100_000 * times);
    shaped.set(&format!("{customer}/down/dropped"), 0, 10 * times);
    shaped.wait("down", 0, 5_000, 100);
    shaped.wait("up", 2, 200, 100);
}

fn busy() -> (Shaped, Trial) {
    let (mut shaped, mut trial) = shaping();
    for times in 1..=3 {
        pass(&mut shaped, times);
        trial.read(1.0);
    }
    (shaped, trial)
}

#[track_caller]
fn shows(screen: &str, expected: &str) {
    assert!(screen == expected, "this is to be seen:\n{screen}");
}

#[test]
fn nodes_are_bars() {
    let (_shaped, mut trial) = busy();
    shows(
        &trial.screen(80, 10),
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node       down use   down bps up use up bps drops/s wait down backlog customers
▾ net      ▌     9.0%     180M   0.4%   800k    10.0    5.12ms   45.4k         4
  ▾ West   ▉      18%     180M     0%      0    10.0    5.12ms   45.4k         3
    ▸ AP 7 ████▌  90%     180M     0%      0    10.0    5.12ms   45.4k         2
  ▸ East           0%        0   1.6%   800k       0         -       0         1

q quit  ? help  Enter unfold  Tab view  / filter  s sort  t totals  w threads
",
    );
    shows(&trial.screen(160, 10), "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node       down use        down bps up use          up bps drops/s marks/s wait down wait up backlog customers down rate down max up rate up max
▾ net      ▉          9.0%     180M            0.4%   800k    10.0       0    5.12ms   207us   45.4k         4              2.00G           200M
  ▾ West   █▊          18%     180M              0%      0    10.0       0    5.12ms       -   45.4k         3              1.00G           100M
    ▸ AP 7 █████████   90%     180M              0%      0    10.0       0    5.12ms       -   45.4k         2               200M          20.0M
  ▸ East                0%        0 ▏          1.6%   800k       0       0         -   207us       0         1               500M          50.0M

q quit  ? help  Enter unfold  Tab view  / filter  s sort  r reverse  t totals  w threads  z zeros  p pause  +- interval
");
    shows(
        &trial.screen(30, 10),
        "\
live  pid 4242  up 1:02:03
in     - pps     - bps
 1 Customers    2 Tree
node       down use     up use
▾ net      ▋       9.0%   0.4%
  ▾ West   █▎       18%     0%
    ▸ AP 7 ██████▎  90%     0%
  ▸ East             0%   1.6%

q quit  ? help  Enter unfold
",
    );
}

#[test]
fn lines_are_chosen_folded_and_unfolded() {
    let (mut shaped, mut trial) = busy();
    trial.keys("jj");
    trial.screen(80, 12);
    assert_eq!(trial.key(KeyCode::Enter), Some(Wish::Read), "its customers were not read before");
    trial.read(0.5);
    shows(
        &trial.screen(80, 12),
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node                   down use down bps up use up bps drops/s wait down backlog
▾ net                        0%        0     0%      0       0         -   45.4k
  ▾ West                     0%        0     0%      0       0         -   45.4k
    ▾ AP 7                   0%        0     0%      0       0         -   45.4k
        4711 Alice Sm…        -        -      -      -       -         -       0
        4712                  -        -      -      -       -         -       0
  ▸ East                     0%        0     0%      0       0         -       0

q quit  ? help  Enter unfold  Tab view  / filter  s sort  t totals  w threads
",
    );
    pass(&mut shaped, 4);
    trial.read(1.0);
    shows(
        &trial.screen(80, 12),
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node                   down use down bps up use up bps drops/s wait down backlog
▾ net                  ▎   9.0%     180M   0.4%   800k    10.0    5.12ms   45.4k
  ▾ West               ▌    18%     180M     0%      0    10.0    5.12ms   45.4k
    ▾ AP 7             ██▊  90%     180M     0%      0    10.0    5.12ms   45.4k
        4711 Alice Sm… ██▊  90%     180M     0%      0    10.0    5.12ms       0
        4712                 0%        0     0%      0       0         -       0
  ▸ East                     0%        0   1.6%   800k       0         -       0

q quit  ? help  Enter unfold  Tab view  / filter  s sort  t totals  w threads
",
    );
    trial.key(KeyCode::Enter);
    trial.key(KeyCode::Up);
    trial.screen(80, 12);
    // West has nodes and a customer: both, then nothing, then nodes again.
    for expected in [
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s
in     - pps     - bps  out     - pps     - bps
 1 Customers    2 Tree
node       down use down bps up use up bps drops/s wait down
▾ net            0%        0     0%      0       0         -
  ▾ West         0%        0     0%      0       0         -
    ▸ AP 7       0%        0     0%      0       0         -
      4714        -        -      -      -       -         -
  ▸ East         0%        0     0%      0       0         -


q quit  ? help  Enter unfold  Tab view  / filter  s sort
",
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s
in     - pps     - bps  out     - pps     - bps
 1 Customers    2 Tree
node     down use   down bps up use up bps drops/s wait down
▾ net            0%        0     0%      0       0         -
  ▸ West         0%        0     0%      0       0         -
  ▸ East         0%        0     0%      0       0         -
[4 empty lines]
q quit  ? help  Enter unfold  Tab view  / filter  s sort
",
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s
in     - pps     - bps  out     - pps     - bps
 1 Customers    2 Tree
node       down use down bps up use up bps drops/s wait down
▾ net            0%        0     0%      0       0         -
  ▾ West         0%        0     0%      0       0         -
    ▸ AP 7       0%        0     0%      0       0         -
  ▸ East         0%        0     0%      0       0         -
[3 empty lines]
q quit  ? help  Enter unfold  Tab view  / filter  s sort
",
    ] {
        trial.key(KeyCode::Enter);
        trial.read(1.0);
        shows(&trial.screen(60, 12), expected);
    }
}

#[test]
fn nodes_and_customers_are_sorted_by_any_column() {
    let (_shaped, mut trial) = busy();
    trial.keys("jj");
    trial.key(KeyCode::Enter);
    trial.read(1.0);
    for _ in 0..20 {
        trial.keys("s");
        assert_eq!(trial.screen(160, 12).matches("47").count(), 2, "both customers are there");
    }
}

#[test]
fn the_line_that_is_chosen_moves_with_the_order() {
    let (mut shaped, mut trial) = busy();
    let chosen = |trial: &mut Trial, height: u16| {
        let mut terminal = Terminal::new(TestBackend::new(40, height)).unwrap();
        trial.draw(&mut terminal);
        let buffer = terminal.backend().buffer();
        let is_chosen = |y: &u16| buffer[(0, *y)].modifier.contains(Modifier::REVERSED);
        let y = (0..height).find(is_chosen).unwrap();
        (0..10)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
            .trim_matches(['▸', '▾', '█', ' '])
            .to_owned()
    };
    trial.key(KeyCode::End);
    assert_eq!(chosen(&mut trial, 10), "East");
    shaped.pair("/shaper/nodes/down/sent", 2, 0, 60_000_000);
    trial.read(1.0);
    assert_eq!(chosen(&mut trial, 10), "East", "though it is the second one now");
    assert_eq!(
        trial.screen(40, 10).lines().nth(5).map(|line| line.trim_matches(['▸', ' ']).starts_with("East")),
        Some(true)
    );
    trial.key(KeyCode::End);
    assert_eq!(chosen(&mut trial, 6), "AP 7", "what is chosen is to be seen");
    trial.key(KeyCode::Home);
    assert_eq!(chosen(&mut trial, 6), "net");
    trial.keys("s");
    assert_eq!(
        trial.screen(40, 10).lines().nth(4).map(|line| line.trim_matches(['▸', ' ']).starts_with("AP 7")),
        Some(true),
        "sorted it is flat"
    );
}

#[test]
fn totals_and_other_eyes() {
    let (_shaped, mut trial) = busy();
    trial.keys("t");
    shows(
        &trial.screen(80, 9),
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node       down bytes up bytes  drops  marks backlog customers down max up max
▾ net          67.50M   300000     30      0   45.4k         4    2.00G   200M
  ▾ West       67.50M        0     30      0   45.4k         3    1.00G   100M
    ▸ AP 7     67.50M        0     30      0   45.4k         2     200M  20.0M
  ▸ East            0   300000      0      0       0         1     500M  50.0M
q quit  ? help  Enter unfold  Tab view  / filter  s sort  t totals  w threads
",
    );
    trial.keys("t");
    let bar = |trial: &mut Trial| {
        let mut terminal = Terminal::new(TestBackend::new(80, 10)).unwrap();
        trial.draw(&mut terminal);
        let cells = terminal.backend().buffer().content.iter();
        cells
            .filter(|cell| cell.symbol() == "█" || cell.symbol() == "#")
            .map(|cell| cell.fg)
            .collect::<Vec<_>>()
    };
    assert!(bar(&mut trial).contains(&Color::Yellow), "90 % is to be looked at");
    trial.see_as(&[("TERM", "dumb"), ("LC_ALL", "C")]);
    assert!(bar(&mut trial).iter().all(|colour| *colour == Color::Reset));
    let screen = trial.screen(100, 10);
    assert!(screen.is_ascii(), "{screen}");
    shows(
        &screen,
        "\
live  pid 4242  up 1:02:03  2 workers  every 1 s  /run/weir/stats.sock
in     - pps     - bps  out     - pps     - bps  drops     -/s
 1 Customers    2 Tree
node       down use      down bps up use up bps drops/s wait down wait up backlog customers down max
- net      #        9.0%     180M   0.4%   800k    10.0    5.12ms   207us   45.4k         4    2.00G
  - West   ##        18%     180M     0%      0    10.0    5.12ms       -   45.4k         3    1.00G
    + AP 7 #######   90%     180M     0%      0    10.0    5.12ms       -   45.4k         2     200M
  + East              0%        0   1.6%   800k       0         -   207us       0         1     500M

q quit  ? help  Enter unfold  Tab view  / filter  s sort  r reverse  t totals  w threads  z zeros
",
    );
}

#[test]
fn what_comes_and_goes_makes_no_rates() {
    let (mut shaped, mut trial) = busy();
    // Another node has the number now.
    trial.segment().register(|batch| batch.set_name(&mut shaped.nodes, 2, "South")).unwrap();
    shaped.pair("/shaper/nodes/down/sent", 2, 0, 60_000_000);
    trial.read(1.0);
    let line = |trial: &mut Trial| {
        trial.screen(80, 10).lines().find(|line| line.contains("South")).unwrap().to_owned()
    };
    assert!(line(&mut trial).contains(" - "), "{}", line(&mut trial));
    shaped.pair("/shaper/nodes/down/sent", 2, 0, 60_000_000 + 6_250_000);
    trial.read(1.0);
    assert!(line(&mut trial).contains("10%"), "{}", line(&mut trial));
}
