//! The weir that is shown: its tree and its objects' names, kept as long as they are true, and what becomes of them when it
//! goes away or starts again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use weir_stats::{Connection, ReadError, Reader};

use super::objects::Objects;
use super::refusal::Refusal;
use super::tree::{Axis, Tree};
use crate::complain;

/// How often the heart of weir is looked at, at most.
const PULSE: Duration = Duration::from_millis(250);

/// A heart that has not beaten for so long may be that of a dead weir: weir promises a beat a second.
const SILENCE: Duration = Duration::from_secs(1);

/// What is kept is renewed after a change when so many times the time that this takes has passed: a segment that changes
/// all the time costs at most a fifth of a core. Changes become visible later for it, by some 100 ms if the segment holds
/// 100,000 names.
const PATIENCE: u32 = 4;

/// But never later than this.
const LATEST: Duration = Duration::from_millis(250);

/// The weir behind a socket, whether it is there or not.
#[derive(Debug)]
pub struct Weir {
    socket: PathBuf,
    state: RwLock<State>,
    pulse: Mutex<Pulse>,
}

#[derive(Debug)]
enum State {
    Here(Arc<View>),
    /// There is none. What was seen last tells which numbers are given away.
    Gone(Memory),
}

#[derive(Clone, Debug)]
struct Memory {
    tree: Arc<Tree>,
    objects: HashMap<String, Arc<Objects>>,
}

#[derive(Debug)]
struct Pulse {
    next: Instant,
    beat: Option<u64>,
    beaten: Instant,
}

impl Weir {
    /// The weir that is served at a socket now.
    pub fn connect(socket: &Path) -> Result<Weir, ReadError> {
        let memory = Memory { tree: Arc::new(Tree::empty()), objects: HashMap::new() };
        let view = View::connect(socket, &memory)?;
        let now = Instant::now();
        Ok(Weir {
            socket: socket.to_owned(),
            state: RwLock::new(State::Here(Arc::new(view))),
            pulse: Mutex::new(Pulse { next: now, beat: None, beaten: now }),
        })
    }

    /// The weir that is there now; `None` if there is none.
    pub fn view(&self) -> Option<Arc<View>> {
        self.look();
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Here(view) => Some(Arc::clone(view)),
            State::Gone(_) => None,
        }
    }

    /// Looks whether weir is still there, or is back.
    pub fn look(&self) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let here = match &*state {
            State::Here(view) => Some(Arc::clone(view)),
            State::Gone(_) => None,
        };
        drop(state);
        // A socket that was made anew is noticed at once: that is one system call.
        let is_replaced = here.as_ref().is_none_or(|view| view.connection.is_replaced());
        // One thread looks, as it may have to wait; the others go on with what there is.
        let Ok(mut pulse) = self.pulse.try_lock() else { return };
        let now = Instant::now();
        if now < pulse.next && !(is_replaced && here.is_some()) {
            return;
        }
        pulse.next = now + PULSE;
        match here {
            Some(view) if !is_replaced => {
                let beat = view.reader().heartbeat().ok();
                if beat != pulse.beat {
                    (pulse.beat, pulse.beaten) = (beat, now);
                } else if now - pulse.beaten > SILENCE && !is_served(&self.socket) {
                    complain("weir is dead: the folders are empty until it is back");
                    self.change(State::Gone(view.memory()));
                }
            }
            _ => {
                (pulse.beat, pulse.beaten) = (None, now);
                self.connect_again(here.as_deref());
            }
        }
    }

    fn connect_again(&self, before: Option<&View>) {
        let memory = match (before, &*self.state.read().unwrap_or_else(PoisonError::into_inner)) {
            (Some(view), _) => view.memory(),
            (None, State::Here(view)) => view.memory(),
            (None, State::Gone(memory)) => memory.clone(),
        };
        match View::connect(&self.socket, &memory) {
            Ok(view) => {
                if before.is_none() {
                    complain("weir is back");
                }
                self.change(State::Here(Arc::new(view)));
            }
            Err(error) => {
                if before.is_some() {
                    complain(format_args!("weir is gone: the folders are empty until it is back ({error})"));
                    self.change(State::Gone(memory));
                }
            }
        }
    }

    fn change(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Whether somebody listens on a socket. Whoever it is need not answer.
fn is_served(socket: &Path) -> bool {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let result = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .and_then(|descriptor| connect(&descriptor, &SocketAddrUnix::new(socket)?));
    !matches!(result, Err(Errno::CONNREFUSED | Errno::NOENT))
}

/// One weir's segment.
#[derive(Debug)]
pub struct View {
    connection: Connection,
    tree: RwLock<Kept<Tree>>,
    objects: RwLock<HashMap<String, Kept<Objects>>>,
}

/// Something that was made from the segment.
#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    /// The epoch of which it is true.
    epoch: u64,
    made: Instant,
    /// How long it took to make it.
    took: Duration,
}

impl<T> Kept<T> {
    fn make<E>(reader: &Reader, make: impl FnOnce() -> Result<T, E>) -> Result<Kept<T>, E> {
        // The epoch before: what changes meanwhile counts as not seen yet.
        let (epoch, start) = (reader.epoch(), Instant::now());
        let value = Arc::new(make()?);
        let made = Instant::now();
        Ok(Kept { value, epoch, made, took: made - start })
    }

    fn serves(&self, epoch: u64, fresh: bool) -> bool {
        self.epoch == epoch || !fresh && self.made.elapsed() < (self.took * PATIENCE).min(LATEST)
    }
}

impl View {
    fn connect(socket: &Path, memory: &Memory) -> Result<View, ReadError> {
        let connection = Connection::connect(socket)?;
        let reader = connection.reader();
        let tree = Kept::make(reader, || Tree::of(reader, &memory.tree))?;
        // They are of another segment, so they serve no epoch, but as the memory of numbers.
        let old = Instant::now().checked_sub(LATEST).unwrap_or_else(Instant::now);
        let remembered = |(key, objects): (&String, &Arc<Objects>)| {
            let kept = Kept { value: Arc::clone(objects), epoch: 0, made: old, took: Duration::ZERO };
            (key.clone(), kept)
        };
        let objects = memory.objects.iter().map(remembered).collect();
        Ok(View { connection, tree: RwLock::new(tree), objects: RwLock::new(objects) })
    }

    pub fn reader(&self) -> &Reader {
        self.connection.reader()
    }

    /// The tree, as it is now if it must be `fresh`, or a little earlier.
    pub fn tree(&self, fresh: bool) -> Result<Arc<Tree>, ReadError> {
        let epoch = self.reader().epoch();
        let kept = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        if kept.serves(epoch, fresh) {
            return Ok(Arc::clone(&kept.value));
        }
        drop(kept);
        let mut kept = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.serves(epoch, fresh) {
            *kept = Kept::make(self.reader(), || Tree::of(self.reader(), &kept.value))?;
            let is_used = |key: &String| kept.value.axes.iter().any(|axis| axis.key == *key);
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            objects.retain(|key, _| is_used(key));
        }
        Ok(Arc::clone(&kept.value))
    }

    /// The objects of an axis of a tree, and the epoch of which they are true.
    pub fn objects(&self, tree: &Tree, axis: &Axis, fresh: bool) -> Result<(Arc<Objects>, u64), Refusal> {
        let epoch = self.reader().epoch();
        let known = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get(&axis.key).filter(|kept| kept.serves(epoch, fresh)) {
            return Ok((Arc::clone(&kept.value), kept.epoch));
        }
        drop(known);
        let mut known = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(&axis.key);
        if let Some(kept) = before.filter(|kept| kept.serves(epoch, fresh)) {
            return Ok((Arc::clone(&kept.value), kept.epoch));
        }
        let before = before.map(|kept| &*kept.value);
        let kept = Kept::make(self.reader(), || Objects::of(self.reader(), tree, axis, before))?;
        let result = (Arc::clone(&kept.value), kept.epoch);
        known.insert(axis.key.clone(), kept);
        Ok(result)
    }

    /// Does something with the tree; again with a fresh one, if what it is about is not there, or has just changed.
    pub fn with_tree<T>(
        &self,
        mut act: impl FnMut(&Arc<Tree>, bool) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut fresh = false;
        for _ in 0..ATTEMPTS {
            match act(&self.tree(fresh)?, fresh) {
                Err(Refusal::Moved) => thread::sleep(PAUSE),
                // What is not there in a fresh tree is not there.
                Err(Refusal::Stale | Refusal::Absent) if !fresh => {}
                result => return result,
            }
            fresh = true;
        }
        Err(Refusal::Unreadable(ReadError::Busy { attempts: ATTEMPTS }))
    }

    fn memory(&self) -> Memory {
        // One lock at a time: whoever makes a new tree takes both, in the other order.
        let tree = Arc::clone(&self.tree.read().unwrap_or_else(PoisonError::into_inner).value);
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let objects = objects.iter().map(|(key, kept)| (key.clone(), Arc::clone(&kept.value))).collect();
        Memory { tree, objects }
    }
}

/// How often something is tried on a segment that changes all the time.
const ATTEMPTS: u32 = 16;

/// The pause after an attempt that the segment's change has undone.
const PAUSE: Duration = Duration::from_millis(1);
