//! Every sample is the truth, none is missing that the rules promise, and losses are what they were.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weir_graph::rtt::Method;

use super::oracle::{promised, truth};
use super::packet::Purpose;
use super::play::{self, Outcome, play};
use super::world::{Moment, Recipe, Rng, World};

/// Plays a world from some moment on with some interval; both judges must be content.
fn judge(recipe: &Recipe, start: u64, interval: u64, handshakes: bool) -> (World, Outcome) {
    let world = World::run(recipe);
    let mut settings = play::settings(64);
    (settings.interval, settings.handshakes) = (interval, handshakes);
    let outcome = play(&world, settings, start);
    if let Err(error) = truth(&world, &outcome) {
        panic!("{error}\n{recipe:?}, start {start}, interval {interval}");
    }
    let promised = promised(&world, &settings, start);
    if let Some(differs) =
        (0..promised.len().max(outcome.samples.len())).find(|&at| promised.get(at) != outcome.samples.get(at))
    {
        panic!(
            "sample {differs}: {:?}, promised {:?}\n{recipe:?}, start {start}, interval {interval}",
            outcome.samples.get(differs),
            promised.get(differs)
        );
    }
    (world, outcome)
}

/// Segments with data or FIN that came to the point below something that had come before: the truth about each, sent again or only late.
pub fn losses(world: &World) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut resent, mut late) = (BTreeSet::new(), BTreeSet::new());
    let mut sent = [(0, 0); 2];
    for &(_, moment) in &world.moments {
        let Moment::Arrives(number) = moment else { continue };
        let packet = &world.packets[number];
        let (fact, sent) = (&packet.fact, &mut sent[packet.side]);
        if sent.0 != fact.connection {
            *sent = (fact.connection, 0);
        }
        if fact.end() > fact.sequence {
            // One byte sent again looks like a keep-alive.
            if fact.sequence < sent.1 && fact.length != 1 && fact.purpose != Purpose::Syn {
                if fact.resent {
                    resent.insert(number)
                } else {
                    late.insert(number)
                };
            }
            sent.1 = sent.1.max(fact.end());
        }
    }
    (resent, late)
}

/// The segments of which something was told, without those that `losses` leaves out.
fn told(world: &World, numbers: &[usize]) -> BTreeSet<usize> {
    let counts = |&&number: &&usize| {
        let fact = &world.packets[number].fact;
        fact.length != 1 && fact.purpose != Purpose::Syn
    };
    numbers.iter().filter(counts).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_sample_is_true_and_none_is_missing(seed: u64) {
        let mut rng = Rng(seed);
        let recipe = Recipe::any(rng.next());
        let start = if rng.chance(50) { 0 } else { rng.below(recipe.end / 2) };
        let interval = rng.pick(&[0, 0, 10_000, 100_000, 1_000_000]);
        judge(&recipe, start, interval, rng.chance(30));
    }
}

/// Plays many worlds: segments that were sent again or came late and were told to be, and those that were told to be the other. There are no others.
fn told_apart(recipe: impl Fn(u64) -> Recipe) -> [usize; 2] {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..300 {
        let (world, outcome) = judge(&recipe(seed), 0, 0, false);
        let (resent, late) = losses(&world);
        let (told_resent, told_late) = (told(&world, &outcome.resent), told(&world, &outcome.reordered));
        assert_eq!(&told_resent | &told_late, &resent | &late, "{seed}");
        assert!(told_resent.is_disjoint(&told_late), "{seed}");
        let mistaken = told_resent.intersection(&late).count() + told_late.intersection(&resent).count();
        wrong += mistaken;
        right += resent.len() + late.len() - mistaken;
    }
    [right, wrong]
}

#[test]
fn what_is_lost_without_reordering_is_counted_as_sent_again() {
    let [right, wrong] = told_apart(|seed| Recipe { reordered: [0; 2], probes: false, ..Recipe::any(seed) });
    // A sender that goes on repairing after a partial acknowledgement, before three segments could tell it, looks like reordering.
    assert!(right > 3000 && wrong * 200 < right, "{right} right, {wrong} wrong");
}

#[test]
fn what_is_late_without_loss_is_counted_as_reordered() {
    let [right, wrong] = told_apart(|seed| Recipe {
        loss: [0; 2],
        dropped: 0,
        probes: false,
        lateness: 2_000,
        tick: [1000; 2],
        // The sender can't learn of a hole before the late segment has come.
        delay: Recipe::any(seed).delay.map(|delay| delay.max(5_000)),
        ..Recipe::any(seed)
    });
    // What was sent again and then came late is both; and within one tick a copy may come before what it is a copy of.
    assert!(right > 3000 && wrong * 100 < right, "{right} right, {wrong} wrong");
}

/// Worlds without trouble: how much there is to find, so that the tests above can't pass by finding nothing.
#[test]
fn there_is_plenty_to_find() {
    let mut by_method = [0usize; 4];
    let mut rounds = 0;
    for seed in 0..60 {
        let recipe = Recipe { reuse: seed % 3 == 0, ..Recipe::any(seed) };
        let (_, outcome) = judge(&recipe, 0, 0, true);
        for made in &outcome.samples {
            by_method[made.method as usize] += 1;
        }
        rounds += outcome.resent.len() + outcome.reordered.len();
    }
    assert!(by_method[Method::Timestamp as usize] > 1000, "{by_method:?}");
    assert!(by_method[Method::Sequence as usize] > 1000, "{by_method:?}");
    assert!(by_method[Method::Handshake as usize] > 80, "{by_method:?}");
    assert!(rounds > 1000, "{rounds}");
}

/// An interval bounds samples: never two of a direction closer than it, by the time of their stamps.
#[test]
fn the_interval_holds() {
    for seed in 0..40 {
        let recipe = Recipe { reuse: false, ..Recipe::any(seed) };
        let (world, outcome) = judge(&recipe, 0, 100_000, false);
        for side in [0, 1] {
            let stamps: Vec<u64> = outcome
                .samples
                .iter()
                .filter(|made| world.packets[made.answer].side == side)
                .map(|made| world.packets[made.answer].arrived.unwrap() - made.rtt)
                .collect();
            assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] >= 100_000), "{stamps:?}");
        }
    }
}
