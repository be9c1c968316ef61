//! `top` on a pseudo-terminal of its own: what it draws, what keys do, and that the terminal is as it was afterwards.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use vt100::{Parser, Screen};

use crate::lab::{WEIRSTAT, Weir, folder, weirstat};
use crate::polling::start_writer;

/// Longer than anything here takes, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal with a live view on it.
pub struct Live {
    child: Child,
    /// The user's side; `None` when the window was closed.
    master: Option<File>,
    /// The program's side.
    terminal: File,
    screen: Arc<Mutex<Parser>>,
    modes: String,
    watcher: Option<Watcher>,
}

/// Who looks at the screen, until told to close the window.
type Watcher = (Arc<AtomicBool>, JoinHandle<()>);

fn watch(mut from: File, screen: &Arc<Mutex<Parser>>) -> Watcher {
    let (closed, screen) = (Arc::new(AtomicBool::new(false)), Arc::clone(screen));
    let told = Arc::clone(&closed);
    let thread = spawn(move || {
        let (mut bytes, pause) = ([0; 4096], Timespec { tv_sec: 0, tv_nsec: 20_000_000 });
        while !told.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(&from, PollFlags::IN)];
            if rustix::event::poll(&mut ready, Some(&pause)).is_ok_and(|ready| ready == 0) {
                continue;
            }
            match from.read(&mut bytes) {
                Ok(count @ 1..) => screen.lock().unwrap().process(&bytes[..count]),
                _ => return,
            }
        }
    });
    (closed, thread)
}

impl Live {
    /// With the terminal as its controlling one, as from a shell.
    fn start(socket: &Path) -> Live {
        Live::start_by(&["setsid", "--ctty"], socket)
    }

    /// With other words than those of `top`.
    pub fn start_with(words: &[&str], socket: &Path) -> Live {
        Live::start_in(&["setsid", "--ctty"], words, socket)
    }

    fn start_by(words: &[&str], socket: &Path) -> Live {
        Live::start_in(words, &["top", "--interval", "0.1"], socket)
    }

    fn start_in(shell: &[&str], words: &[&str], socket: &Path) -> Live {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let terminal = rustix::fs::open(
            name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let terminal = File::from(terminal.unwrap());
        resize(&terminal, 80, 24);
        let modes = modes(&terminal);
        let screen = Arc::new(Mutex::new(Parser::new(24, 80, 0)));
        let watcher = watch(File::from(master.try_clone().unwrap()), &screen);
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(WEIRSTAT).args(words).arg("--socket").arg(socket);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        let [stdin, stdout, stderr] = [0; 3].map(|_| terminal.try_clone().unwrap());
        let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        Live { child, master: Some(File::from(master)), terminal, screen, modes, watcher: Some(watcher) }
    }

    /// Waits until the screen is so.
    pub fn wait_until(&mut self, what: &str, is: impl Fn(&Screen) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(self.screen.lock().unwrap().screen()) {
            assert!(Instant::now() < end, "no {what}, but:\n{}", self.text());
            assert!(self.child.try_wait().unwrap().is_none(), "it left, with:\n{}", self.text());
            sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contents().contains(text));
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the window as large as this.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        resize(&self.terminal, columns, rows);
    }

    /// Closes the window.
    fn hang_up(&mut self) {
        let (told, thread) = self.watcher.take().unwrap();
        told.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        self.master = None;
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has left.
    fn status(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not leave:\n{}", self.text());
            sleep(Duration::from_millis(5));
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    }

    /// The terminal is as it was before: its modes, its screen, its cursor.
    fn is_given_back(&self) -> bool {
        let screen = self.screen.lock().unwrap();
        let screen = screen.screen();
        !screen.alternate_screen() && !screen.hide_cursor() && modes(&self.terminal) == self.modes
    }

    fn wait_until_given_back(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.is_given_back() {
            assert!(Instant::now() < end, "{}\n{}", modes(&self.terminal), self.text());
            sleep(Duration::from_millis(5));
        }
        assert_eq!(self.text().trim(), "", "what was on the screen before is there again");
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}

fn modes(terminal: &File) -> String {
    format!("{:?}", rustix::termios::tcgetattr(terminal).unwrap())
}

#[test]
fn it_draws_follows_keys_and_gives_the_terminal_back() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut live = Live::start(&socket);
    live.wait_for("eth2");
    live.wait_for("rx pps");
    live.wait_until("cursor", |screen| screen.alternate_screen() && screen.hide_cursor());
    assert_ne!(modes(&live.terminal), live.modes, "keys are not echoed");
    live.press("3");
    live.wait_for("no-route");
    live.press("/zzz");
    live.wait_for("/zzz  Enter");
    live.wait_until("cursor", |screen| !screen.hide_cursor() && screen.cursor_position() == (23, 4));
    live.wait_for("nothing matches");
    live.press("\x1b");
    live.wait_until("row", |screen| screen.contents().contains("no-route"));
    live.press("\t");
    live.wait_for("eth1");
    live.press("\x1b[C");
    live.wait_for("clocks/packet");
    live.press("?");
    live.wait_for("reverse the order");
    live.press("q");
    assert_eq!(live.status().code(), Some(0));
    live.wait_until_given_back();
}

#[test]
fn it_fills_whatever_size_the_terminal_gets() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut live = Live::start(&socket);
    live.wait_for("q quit");
    for (columns, rows) in [(120, 30), (20, 6), (1, 1), (40, 10), (200, 60), (80, 24)] {
        live.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        resize(&live.terminal, columns, rows);
        let key = if columns >= 40 { "q quit" } else { "" };
        live.wait_until("keys in the last line", |screen| {
            let lines: Vec<String> = screen.rows(0, columns).collect();
            lines.last().is_some_and(|last| last.starts_with(key)) && !lines[0].is_empty()
        });
    }
    live.wait_for("eth1");
}

#[test]
fn a_terminal_without_a_size_is_taken_as_24_lines_of_80() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut live = Live::start(&socket);
    live.wait_for("q quit");
    resize(&live.terminal, 0, 0);
    live.press("2");
    live.wait_for("ip4-lookup");
}

#[test]
fn keys_pressed_while_the_size_changes_are_not_lost() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut live = Live::start(&socket);
    live.wait_for("q quit");
    for round in 0..100 {
        let (key, text) = if round % 2 == 0 { ("2", "ip4-lookup") } else { ("1", "rx pps") };
        live.resize(100 + round, 30);
        live.press(key);
        live.wait_for(text);
    }
}

#[test]
fn signals_end_it_and_the_terminal_is_as_it_was() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut live = Live::start(&socket);
        live.wait_for("eth1");
        live.signal(signal);
        assert_eq!(live.status().signal(), Some(signal.as_raw()));
        live.wait_until_given_back();
    }
}

#[test]
fn a_job_that_is_stopped_gives_the_terminal_back_until_it_goes_on() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut live = Live::start(&socket);
    live.wait_for("eth1");
    for how in ["key", "signal"] {
        match how {
            "key" => live.press("\x1a"),
            _ => live.signal(Signal::TSTP),
        }
        live.wait_until_given_back();
        let end = Instant::now() + PATIENCE;
        while !live.is_stopped() {
            assert!(Instant::now() < end, "it goes on");
        }
        live.signal(Signal::CONT);
        live.wait_until("screen", |screen| screen.alternate_screen() && screen.contents().contains("eth1"));
        assert_ne!(modes(&live.terminal), live.modes);
    }
    live.press("q");
    assert_eq!(live.status().code(), Some(0));
    live.wait_until_given_back();
}

#[test]
fn a_closed_window_ends_it() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    // With and without the signal that the kernel sends to those whose controlling terminal it is.
    for words in [&["setsid", "--ctty"][..], &["setsid"]] {
        let mut live = Live::start_by(words, &socket);
        live.wait_for("eth1");
        // Paused, it draws nothing: that is no reason to stay.
        live.press("p");
        live.wait_for("paused");
        live.hang_up();
        live.status();
    }
}

#[test]
fn a_weir_that_is_killed_is_waited_for() {
    let (_folder, socket) = folder();
    let first = start_writer(&socket);
    let mut live = Live::start(&socket);
    live.wait_for(&format!("live  pid {}", first.0.id()));
    drop(first); // SIGKILL
    live.wait_for("waiting for weir at ");
    live.wait_for("eth1");
    let second = start_writer(&socket);
    live.wait_for(&format!("pid {}", second.0.id()));
    live.wait_for("live  restarted: rates begin anew");
    live.press("q");
    assert_eq!(live.status().code(), Some(0));
    live.wait_until_given_back();
}

#[test]
fn without_a_terminal_another_command_is_named() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let output = weirstat(&socket, &["top"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("weirstat: top needs a terminal") && text.contains("weirstat poll"), "{text}");
}
