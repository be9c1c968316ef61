//! The kernel's links, addresses and neighbours as they were last told, so that only differences are passed on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::event::{Address, Event, Link, Neighbour};

/// A value and the last dump that showed it, or during which it was notified.
type Seen<T> = (T, u32);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    links: BTreeMap<u32, Seen<Link>>,
    addresses: BTreeMap<(u32, IpAddr, u8), Seen<Address>>,
    neighbours: BTreeMap<(u32, IpAddr), Seen<Neighbour>>,
    generation: u32,
}

/// What a link's message means for routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkChange {
    None,
    /// It was set down.
    Down,
    /// It lost its carrier.
    CarrierLost,
    /// It can carry packets again.
    Usable,
}

impl Mirror {
    /// Takes what the kernel says of a link.
    pub(super) fn link(&mut self, link: Link, sink: &mut impl FnMut(Event)) -> LinkChange {
        let before = self.links.insert(link.index, (link.clone(), self.generation)).map(|(link, _)| link);
        if before.as_ref() == Some(&link) {
            return LinkChange::None;
        }
        let change = match &before {
            Some(before) if before.up && !link.up => LinkChange::Down,
            Some(before) if before.running && !link.running => LinkChange::CarrierLost,
            Some(before) if !before.usable() && link.usable() => LinkChange::Usable,
            _ => LinkChange::None,
        };
        sink(Event::Link(link));
        change
    }

    /// Takes out a link and what lives on it; false if it was not known.
    pub(super) fn link_gone(&mut self, index: u32, sink: &mut impl FnMut(Event)) -> bool {
        if self.links.remove(&index).is_none() {
            return false;
        }
        let addresses = self.addresses.extract_if(.., |&(of, ..), _| of == index);
        addresses.for_each(|(_, (address, _))| sink(Event::AddressGone(address)));
        let neighbours = self.neighbours.extract_if(.., |&(of, _), _| of == index);
        neighbours.for_each(|((index, address), _)| sink(Event::NeighbourGone { index, address }));
        sink(Event::LinkGone(index));
        true
    }

    /// Whether the link is known and not set up.
    pub(super) fn down(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|(link, _)| !link.up)
    }

    pub(super) fn address(&mut self, address: Address, sink: &mut impl FnMut(Event)) {
        let key = (address.index, address.address, address.length);
        let before = self.addresses.insert(key, (address, self.generation));
        if before.map(|(address, _)| address) != Some(address) {
            sink(Event::Address(address));
        }
    }

    /// False if it was not known.
    pub(super) fn address_gone(&mut self, address: Address, sink: &mut impl FnMut(Event)) -> bool {
        let gone = self.addresses.remove(&(address.index, address.address, address.length));
        gone.map(|(address, _)| sink(Event::AddressGone(address))).is_some()
    }

    pub(super) fn neighbour(&mut self, neighbour: Neighbour, sink: &mut impl FnMut(Event)) {
        let key = (neighbour.index, neighbour.address);
        let before = self.neighbours.insert(key, (neighbour, self.generation));
        if before.map(|(neighbour, _)| neighbour) != Some(neighbour) {
            sink(Event::Neighbour(neighbour));
        }
    }

    pub(super) fn neighbour_gone(&mut self, index: u32, address: IpAddr, sink: &mut impl FnMut(Event)) {
        if self.neighbours.remove(&(index, address)).is_some() {
            sink(Event::NeighbourGone { index, address });
        }
    }

    /// A dump begins: what is neither in it nor notified from now on is gone at its end.
    pub(super) fn begin(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The links that the dump that began last did not show.
    pub(super) fn vanished_links(&self) -> Vec<u32> {
        let stale = self.links.iter().filter(|(_, (_, generation))| *generation != self.generation);
        stale.map(|(index, _)| *index).collect()
    }

    /// The dump of addresses that began last has ended.
    pub(super) fn sweep_addresses(&mut self, sink: &mut impl FnMut(Event)) {
        let current = self.generation;
        let gone = self.addresses.extract_if(.., |_, (_, generation)| *generation != current);
        gone.for_each(|(_, (address, _))| sink(Event::AddressGone(address)));
    }

    /// The dump of one version's neighbours that began last has ended.
    pub(super) fn sweep_neighbours(&mut self, of: impl Fn(&IpAddr) -> bool, sink: &mut impl FnMut(Event)) {
        let current = self.generation;
        let gone = self
            .neighbours
            .extract_if(.., |(_, address), (_, generation)| of(address) && *generation != current);
        gone.for_each(|((index, address), _)| sink(Event::NeighbourGone { index, address }));
    }
}
