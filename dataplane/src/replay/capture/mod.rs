//! Captures: pcap and pcapng, plain or under gzip, as streams of packets with their times.
//!
//! Both formats are read in one pass, from anything that can be read, so a capture may be larger than memory or come down a pipe. A capture
//! is outside input: whatever its bytes, reading it ends with packets or with a [`Fault`] that names the place, and no length in it makes
//! the reader take more memory than 16 MiB.

mod pcap;
mod pcapng;
mod window;

use std::{
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;

use self::window::Window;
use super::link::LinkType;

/// Bytes that one record of a capture may take. libpcap reads no larger pcapng block either (`MAX_BLOCKSIZE`, sf-pcapng.c).
const MOST: usize = 16 << 20;

/// What ends the reading of a capture before its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It can't be opened.
    #[error("{capture}: can't be opened: {source}")]
    Open {
        /// The capture's name.
        capture: String,
        /// Why.
        source: io::Error,
    },
    /// It can't be read on.
    #[error("{capture}: can't be read on from byte {offset}{of}: {source}")]
    Read {
        /// The capture's name.
        capture: String,
        /// Where, in bytes.
        offset: u64,
        /// What the offset counts, if that is not the file's bytes.
        of: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are not those of a capture.
    #[error("{capture}: damaged at byte {offset}{of}: {what}")]
    Damaged {
        /// The capture's name.
        capture: String,
        /// Where the record, block or header begins that can't be read, in bytes.
        offset: u64,
        /// What the offset counts, if that is not the file's bytes.
        of: &'static str,
        /// What is wrong there.
        what: String,
    },
    /// It is something else.
    #[error(
        "{capture}: neither pcap nor pcapng; if another program wrote it, Wireshark's editcap may convert it"
    )]
    Unknown {
        /// The capture's name.
        capture: String,
    },
    /// There is nothing in it, not even a header.
    #[error("{capture}: empty; a capture has a header even before its first packet")]
    Empty {
        /// The capture's name.
        capture: String,
    },
}

/// What a format's reader can stumble upon; [`Capture`] adds the place.
#[derive(Debug)]
enum Stumble {
    Read(io::Error),
    Damaged(String),
    Unknown,
    Empty,
}

impl From<io::Error> for Stumble {
    fn from(error: io::Error) -> Stumble {
        Stumble::Read(error)
    }
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, in nanoseconds since 1970. Simple packet blocks of pcapng have no time.
    pub time: Option<u64>,
    /// What its bytes begin with.
    pub link: LinkType,
    /// Bytes that it had on the wire.
    pub length: u32,
    /// Those that were captured.
    pub bytes: &'a [u8],
}

/// Where a packet stands in the window, and what its record says of it.
#[derive(Debug)]
struct Found {
    /// Bytes of the record, the packet in it.
    size: usize,
    packet: Range<usize>,
    time: Option<u64>,
    link: LinkType,
    length: u32,
}

enum Format {
    Pcap(pcap::Layout),
    Pcapng(pcapng::Section),
}

/// A capture that is being read.
pub struct Capture {
    name: String,
    /// What offsets count, if that is not the file's bytes.
    of: &'static str,
    window: Window,
    format: Format,
    found: Option<Found>,
}

impl Capture {
    /// Opens a file, `-` being the standard input, and reads as far as its first header. `progress` is raised by the bytes that are read
    /// of it.
    pub fn open(path: &Path, progress: Arc<AtomicU64>) -> Result<Capture, Fault> {
        let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        let file: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            match File::open(path) {
                Ok(file) => Box::new(file),
                Err(source) => return Err(Fault::Open { capture: name, source }),
            }
        };
        Capture::new(name, Counted { reader: file, progress })
    }

    /// A capture that is read from anything. `name` is what faults call it.
    pub fn new(name: String, reader: impl Read + 'static) -> Result<Capture, Fault> {
        let mut window = Window::new(Box::new(reader));
        let mut of = "";
        let mut begin = || {
            if is_gzip(&mut window)? {
                of = " of what it unpacks to";
                let packed = std::mem::replace(&mut window, Window::new(Box::new(io::empty())));
                window = Window::new(Box::new(MultiGzDecoder::new(BufReader::new(packed.into_reader()))));
            }
            if !window.holds(1)? {
                return Err(Stumble::Empty);
            }
            match pcap::Layout::begin(&mut window)? {
                Some(layout) => Ok(Format::Pcap(layout)),
                None => pcapng::Section::begin(&mut window).map(Format::Pcapng),
            }
        };
        match begin() {
            Ok(format) => Ok(Capture { name, of, window, format, found: None }),
            Err(stumble) => Err(fault(stumble, &name, window.offset(), of)),
        }
    }

    /// Goes on to the next packet; `false` at the end. After a fault there is nothing more to read.
    pub fn advance(&mut self) -> Result<bool, Fault> {
        if let Some(found) = self.found.take() {
            self.window.consume(found.size);
        }
        let found = match &mut self.format {
            Format::Pcap(layout) => layout.next(&mut self.window),
            Format::Pcapng(section) => section.next(&mut self.window),
        };
        match found {
            Ok(found) => {
                self.found = found;
                Ok(self.found.is_some())
            }
            Err(stumble) => Err(fault(stumble, &self.name, self.window.offset(), self.of)),
        }
    }

    /// The packet that [`Capture::advance`] has come to.
    pub fn record(&self) -> Option<Record<'_>> {
        let found = self.found.as_ref()?;
        let bytes = self.window.bytes().get(found.packet.clone())?;
        Some(Record { time: found.time, link: found.link, length: found.length, bytes })
    }
}

fn fault(stumble: Stumble, name: &str, offset: u64, of: &'static str) -> Fault {
    let capture = name.to_owned();
    match stumble {
        Stumble::Read(source) => Fault::Read { capture, offset, of, source },
        Stumble::Damaged(what) => Fault::Damaged { capture, offset, of, what },
        Stumble::Unknown => Fault::Unknown { capture },
        Stumble::Empty => Fault::Empty { capture },
    }
}

/// RFC 1952, 2.3.1: ID1 and ID2, then the one compression method that there is.
fn is_gzip(window: &mut Window) -> io::Result<bool> {
    Ok(window.holds(3)? && window.bytes().starts_with(&[0x1f, 0x8b, 8]))
}

/// The record of `size` bytes that begins where the window does: `false` at the end of the capture.
fn whole(window: &mut Window, size: usize) -> Result<bool, Stumble> {
    if window.holds(size)? {
        return Ok(true);
    }
    match window.bytes().len() {
        0 => Ok(false),
        there => Err(Stumble::Damaged(format!("the capture ends after {there} of a record's {size} bytes"))),
    }
}

struct Counted {
    reader: Box<dyn Read>,
    progress: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(bytes)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
