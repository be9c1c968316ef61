//! How a customer's packets are queued, in CAKE's keywords: `diffserv4 rtt 50ms`, `cake/fq_codel`.

use std::time::Duration;

use weir_graph::shaper::{Discipline, Isolation, Overhead, Tins};

use super::Both;

/// How the packets of a customer are queued in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queueing {
    /// Classes by DSCP.
    pub tins: Tins,
    /// Between whom a class is divided.
    pub isolation: Isolation,
    /// The round-trip time that the queue management takes for granted.
    pub rtt: Duration,
    /// Whether queues are kept short. If not, packets wait until memory runs out.
    pub managed: bool,
    /// Whether acknowledgements that wait are dropped when a later one says all that they said.
    pub ack_filter: bool,
}

impl Default for Queueing {
    /// Four classes, fair between hosts of both sides and the flows of each, and a round trip over the internet: `diffserv4 triple-isolate rtt 100ms`.
    fn default() -> Queueing {
        Queueing { tins: Tins::Diffserv4, isolation: Isolation::Both, ..PLAIN }
    }
}

/// One class, fair between flows: `fq_codel`.
const PLAIN: Queueing = Queueing {
    tins: Tins::BestEffort,
    isolation: Isolation::Flows,
    rtt: Duration::from_millis(100),
    managed: true,
    ack_filter: false,
};

/// CoDel's target is this part of the round-trip time, as in CAKE; RFC 8289 §4.3 has 5 ms of 100 ms.
const TARGET: u32 = 20;

/// Ticks that no packet waits, but far from the end of numbers: CoDel doubles it.
const NEVER: u64 = 1 << 60;

impl Queueing {
    /// The same in ticks of a clock.
    pub fn discipline(&self, hz: u64) -> Discipline {
        let ticks = |time: Duration| {
            u64::try_from(time.as_nanos().saturating_mul(hz.into()) / 1_000_000_000)
                .unwrap_or(NEVER)
                .min(NEVER)
        };
        let target = if self.managed { ticks(self.rtt / TARGET) } else { NEVER };
        Discipline {
            tins: self.tins,
            isolation: self.isolation,
            target,
            interval: ticks(self.rtt),
            ack_filter: self.ack_filter,
        }
    }
}

/// In the keywords that would be read as this.
impl std::fmt::Display for Queueing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tins = match self.tins {
            Tins::BestEffort => "besteffort",
            Tins::Diffserv3 => "diffserv3",
            Tins::Diffserv4 => "diffserv4",
            Tins::Diffserv8 => "diffserv8",
        };
        let isolation = match self.isolation {
            Isolation::Flows => "flows",
            Isolation::Sources => "dual-srchost",
            Isolation::Destinations => "dual-dsthost",
            Isolation::Both => "triple-isolate",
        };
        // Of one whose queue is not kept short, only what `none` would not say by itself.
        let usual = Queueing { managed: false, ..PLAIN };
        f.write_str(tins)?;
        if self.managed || self.isolation != usual.isolation {
            write!(f, " {isolation}")?;
        }
        if self.managed || self.rtt != usual.rtt {
            write!(f, " rtt {}", humantime::format_duration(self.rtt).to_string().replace(' ', ""))?;
        }
        if !self.managed {
            f.write_str(" none")?;
        }
        if self.ack_filter {
            f.write_str(" ack-filter")?;
        }
        Ok(())
    }
}

/// What a text of keywords says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    /// How packets are queued in each direction; `None`: not said.
    pub(super) queueing: Both<Option<Queueing>>,
    /// What a packet counts, if it is said.
    pub(super) overhead: Option<Overhead>,
    /// Words that CAKE knows and weir has no use for.
    pub(super) unused: Vec<String>,
}

/// Round-trip times by name (tc-cake(8)).
const PRESETS: [(&str, Duration); 8] = [
    ("datacentre", Duration::from_micros(100)),
    ("lan", Duration::from_millis(1)),
    ("metro", Duration::from_millis(10)),
    ("regional", Duration::from_millis(30)),
    ("internet", Duration::from_millis(100)),
    ("oceanic", Duration::from_millis(300)),
    ("satellite", Duration::from_secs(1)),
    ("interplanetary", Duration::from_secs(1000)),
];

/// Words that say what weir does anyway.
const GRANTED: [&str; 7] = ["ecn", "split-gso", "no-split-gso", "nonat", "nowash", "egress", "unlimited"];

/// Words that ask for what weir doesn't do, with whether a value follows.
const UNUSED: [(&str, bool); 7] = [
    ("nat", false),
    ("wash", false),
    ("ingress", false),
    ("autorate-ingress", false),
    ("ack-filter-aggressive", false),
    ("memlimit", true),
    ("fwmark", true),
];

/// What says in a word how packets are queued; LibreQoS's words.
const KINDS: [&str; 3] = ["cake", "fq_codel", "none"];

const EXAMPLE: &str =
    "write words such as `diffserv4 rtt 100ms`, or `cake`, `fq_codel`, `none`, or two of them as `down/up`";

/// Reads keywords; `default` is what words that are missing leave as it is. What is wrong with them, and what to write instead.
pub(super) fn parse(text: &str, default: Both<Queueing>) -> Result<Words, (String, String)> {
    let mut words = Words { queueing: Both::default(), overhead: None, unused: Vec::new() };
    let text = text.trim().to_ascii_lowercase();
    match text.split_once('/') {
        None => {
            words.queueing.down = one(&text, default.down, &mut words)?;
            let mut same = Words { queueing: Both::default(), overhead: None, unused: Vec::new() };
            words.queueing.up = one(&text, default.up, &mut same)?;
        }
        Some((down, up)) => {
            words.queueing.down = one(down, default.down, &mut words)?;
            let overhead = words.overhead.take();
            words.queueing.up = one(up, default.up, &mut words)?;
            if overhead.is_some() && words.overhead.is_some() && overhead != words.overhead {
                let what = "the two directions count a packet's bytes differently".to_owned();
                return Err((what, "write the same words on both sides of `/`".to_owned()));
            }
            words.overhead = words.overhead.take().or(overhead);
        }
    }
    Ok(words)
}

/// Reads the keywords of those who ask for nothing else.
pub(crate) fn read(text: &str) -> Result<Both<Queueing>, (String, String)> {
    let default = Queueing::default();
    let words = parse(text, Both::same(default))?;
    if words.overhead.is_some() {
        let what = "these words say what a packet counts, not how it is queued".to_owned();
        return Err((what, "write them as `overhead = \"…\"`".to_owned()));
    }
    if let Some(word) = words.unused.first() {
        return Err((format!("weir has nothing like `{word}`"), "leave it out".to_owned()));
    }
    Ok(words.queueing.map(|queueing| queueing.unwrap_or(default)))
}

fn one(text: &str, default: Queueing, into: &mut Words) -> Result<Option<Queueing>, (String, String)> {
    let plain = Queueing { tins: PLAIN.tins, isolation: PLAIN.isolation, ..default };
    // Where the other words start from, wherever it stands.
    let mut kinds = text.split_ascii_whitespace().filter(|word| KINDS.contains(word));
    let mut queueing = match kinds.next() {
        None if text.trim_ascii().is_empty() => return Ok(None),
        Some("cake") => Queueing { managed: true, ..default },
        Some("fq_codel") => Queueing { managed: true, ..plain },
        Some("none") => Queueing { managed: false, ..plain },
        _ => default,
    };
    if let Some(second) = kinds.next() {
        return Err((format!("`{second}` is one kind of queue too many"), EXAMPLE.to_owned()));
    }
    let mut words = text.split_ascii_whitespace();
    let mut overhead = Vec::new();
    while let Some(word) = words.next() {
        match word {
            _ if KINDS.contains(&word) => {}
            "besteffort" => queueing.tins = Tins::BestEffort,
            "diffserv3" => queueing.tins = Tins::Diffserv3,
            "diffserv4" => queueing.tins = Tins::Diffserv4,
            "diffserv8" => queueing.tins = Tins::Diffserv8,
            "flows" => queueing.isolation = Isolation::Flows,
            "dual-srchost" => queueing.isolation = Isolation::Sources,
            "dual-dsthost" => queueing.isolation = Isolation::Destinations,
            "triple-isolate" => queueing.isolation = Isolation::Both,
            "ack-filter" => queueing.ack_filter = true,
            "no-ack-filter" => queueing.ack_filter = false,
            "rtt" => queueing.rtt = round_trip(words.next())?,
            _ => {
                let preset = PRESETS.iter().find(|(name, _)| *name == word);
                let is_overhead = matches!(word, "overhead" | "mpu") || Overhead::from_keywords(word).is_ok();
                let unused = UNUSED.iter().find(|(name, _)| *name == word);
                if let Some((_, rtt)) = preset {
                    queueing.rtt = *rtt;
                } else if is_overhead {
                    overhead.push(word);
                    overhead.extend(matches!(word, "overhead" | "mpu").then(|| words.next()).flatten());
                } else if let Some((_, has_value)) = unused {
                    into.unused.push(word.to_owned());
                    let _value = has_value.then(|| words.next());
                } else if !GRANTED.contains(&word) {
                    return Err(unknown(word));
                }
            }
        }
    }
    if !overhead.is_empty() {
        into.overhead = Some(self::overhead(&overhead.join(" "))?);
    }
    Ok(Some(queueing))
}

/// Reads keywords that say what a packet counts beside its own bytes.
pub(crate) fn overhead(keywords: &str) -> Result<Overhead, (String, String)> {
    Overhead::from_keywords(&keywords.to_ascii_lowercase()).map_err(|error| {
        let text = error.to_string().escape_debug().to_string();
        match text.split_once(": ") {
            Some((what, fix)) => (what.to_owned(), fix.to_owned()),
            None => (text, "write such as `docsis`, `pppoe-ptm ether-vlan`, `overhead 38 mpu 84`".to_owned()),
        }
    })
}

fn round_trip(text: Option<&str>) -> Result<Duration, (String, String)> {
    let fix = || "write a time after it, such as `rtt 100ms`".to_owned();
    let Some(text) = text else { return Err(("`rtt` has no time".to_owned(), fix())) };
    match humantime::parse_duration(text) {
        Ok(rtt) if (PRESETS[0].1..=PRESETS[7].1).contains(&rtt) => Ok(rtt),
        Ok(_) => Err((format!("a round trip of {text} is not between 100us and 1000s"), fix())),
        Err(_) => Err((format!("`{}` is not a time", text.escape_debug()), fix())),
    }
}

fn unknown(word: &str) -> (String, String) {
    let fix = match word {
        "precedence" => "write `diffserv8`",
        "srchost" => "write `dual-srchost`",
        "dsthost" => "write `dual-dsthost`",
        "hosts" | "flowblind" => "write `triple-isolate`",
        "bandwidth" => "leave it out: rates stand by themselves",
        "noecn" => "leave it out: weir marks packets that can be marked",
        _ => EXAMPLE,
    };
    (format!("weir queues nothing by the word `{}`", word.escape_debug()), fix.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample};

    use super::*;

    fn of(text: &str) -> Words {
        parse(text, Both::same(Queueing::default())).unwrap()
    }

    #[test]
    fn the_column_sqm_of_libreqos_is_understood() {
        let cake = Queueing::default();
        let fq_codel = Queueing { tins: Tins::BestEffort, isolation: Isolation::Flows, ..cake };
        let none = Queueing { managed: false, ..fq_codel };
        for (text, down, up) in [
            ("", None, None),
            ("cake", Some(cake), Some(cake)),
            ("CAKE/fq_codel", Some(cake), Some(fq_codel)),
            ("fq_codel/", Some(fq_codel), None),
            (" / none", None, Some(none)),
        ] {
            assert_eq!(of(text).queueing, Both { down, up }, "{text}");
        }
    }

    #[test]
    fn keywords_of_cake_are_understood() {
        let words = of("cake diffserv8 dual-dsthost rtt 50ms docsis mpu 64 nat ecn ack-filter memlimit 32mb");
        let expected = Queueing {
            tins: Tins::Diffserv8,
            isolation: Isolation::Destinations,
            rtt: Duration::from_millis(50),
            managed: true,
            ack_filter: true,
        };
        assert_eq!(words.queueing, Both::same(Some(expected)));
        assert_eq!(expected.to_string(), "diffserv8 dual-dsthost rtt 50ms ack-filter");
        assert_eq!(of(&expected.to_string()).queueing, words.queueing);
        let docsis = Overhead::from_keywords("docsis mpu 64").unwrap();
        assert_eq!(words.overhead, Some(docsis));
        assert_eq!(words.unused, ["nat", "memlimit"]);
        assert_eq!(of("satellite").queueing.up.unwrap().rtt, Duration::from_secs(1));
        assert_eq!(of("cake docsis/cake").overhead, Some(docsis));
    }

    #[test]
    fn the_kind_of_queue_may_stand_anywhere() {
        for text in ["none besteffort", "besteffort none", "none"] {
            assert_eq!(of(text).queueing.up, Some(Queueing { managed: false, ..PLAIN }), "{text}");
        }
        for text in ["fq_codel rtt 30ms dual-srchost", "rtt 30ms dual-srchost fq_codel"] {
            let expected =
                Queueing { isolation: Isolation::Sources, rtt: Duration::from_millis(30), ..PLAIN };
            assert_eq!(of(text).queueing.down, Some(expected), "{text}");
        }
        // Where the default is not to keep queues short, `cake` is.
        let none = Queueing { managed: false, ..Queueing::default() };
        let words = |text| parse(text, Both::same(none)).unwrap().queueing.up.unwrap();
        assert_eq!((words("cake").managed, words("diffserv3").managed), (true, false));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_it_was_in_any_order(
            tins in sample::select(vec![Tins::BestEffort, Tins::Diffserv3, Tins::Diffserv4, Tins::Diffserv8]),
            isolation in sample::select(vec![Isolation::Flows, Isolation::Sources, Isolation::Destinations, Isolation::Both]),
            micros in prop_oneof![Just(100_000u64), 100..1_000_000_000u64],
            managed: bool,
            ack_filter: bool,
            order in any::<u64>(),
        ) {
            let queueing = Queueing { tins, isolation, rtt: Duration::from_micros(micros), managed, ack_filter };
            let printed = queueing.to_string();
            prop_assert_eq!(read(&printed), Ok(Both::same(queueing)), "{}", printed);
            let together = printed.replace("rtt ", "rtt=");
            let mut words: Vec<&str> = together.split(' ').collect();
            let turn = order as usize % words.len();
            words.rotate_left(turn);
            if order >> 63 == 1 {
                words.reverse();
            }
            let shuffled = words.join(" ").replace("rtt=", "rtt ");
            prop_assert_eq!(read(&shuffled), Ok(Both::same(queueing)), "{}", shuffled);
        }
    }

    #[test]
    fn words_that_would_be_misunderstood_are_refused() {
        for (text, what) in [
            ("cake hosts", "the word `hosts`"),
            ("pie", "the word `pie`"),
            ("cake rtt", "`rtt` has no time"),
            ("rtt 1h", "not between 100us and 1000s"),
            ("rtt soon", "`soon` is not a time"),
            ("cake docsis/cake ethernet", "the two directions"),
            ("cake overhead", "`overhead` needs a number from -64 to 256"),
            ("cake mpu 999", "`mpu` needs a number from 0 to 256"),
            ("cake/fq_codel/none", "the word `fq_codel/none`"),
            ("cake rtt 50ms none", "`none` is one kind of queue too many"),
        ] {
            let (problem, fix) = parse(text, Both::same(Queueing::default())).unwrap_err();
            assert!(problem.contains(what) && !fix.is_empty(), "{text}: {problem}");
        }
    }

    #[test]
    fn times_become_ticks() {
        let discipline = Queueing::default().discipline(1_000_000_000);
        assert!(!discipline.ack_filter);
        assert_eq!((discipline.target, discipline.interval), (5_000_000, 100_000_000));
        let endless = Queueing { managed: false, ..Queueing::default() }.discipline(u64::MAX);
        assert_eq!((endless.target, endless.interval), (NEVER, NEVER));
    }
}
