//! The segment's memory as a file without a name: sparse, sealed, and read-only for everybody else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use memmap2::{Advice, MmapOptions};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::error::Error;
use crate::words::Area;

/// The writer's mapping and the descriptor that readers get.
///
/// The file is as large as the segment may ever become, but has pages only where something was written. Once the
/// writer has its mapping the file is sealed: nobody, the writer included, can resize it or map it writable again.
pub(crate) fn create(size: u64) -> Result<(Area, OwnedFd), Error> {
    let system = |step| move |source: io::Error| Error::System { step, source };
    let errno = |step| move |source: rustix::io::Errno| Error::System { step, source: source.into() };

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("stat segment", flags).map_err(errno("memfd_create"))?;
    rustix::fs::ftruncate(&file, size).map_err(errno("ftruncate"))?;
    let length = usize::try_from(size).map_err(|_| Error::Size { size })?;
    let mapping = MmapOptions::new().len(length).no_reserve_swap().map_raw(&file).map_err(system("mmap"))?;
    // A core dump of weir is not to carry gigabytes of counters. Kernels that cannot do this dump more, no harm done.
    let _ = mapping.advise(Advice::DontDump);
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(errno("sealing (needs Linux 5.1)"))?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
    let readers = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(errno("opening it read-only through /proc"))?;
    let area = Area::mapped(mapping).ok_or(Error::Size { size })?;
    Ok((area, readers))
}
