//! What the kernel asks, answered from the tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, Request,
};

use super::budget::{Budget, Text};
use super::files;
use super::inode::Inode;
use super::listing::Folder;
use super::refusal::Refusal;
use super::view::{View, Weir};

/// How long the kernel may go on with a name or an attribute. Together with what a renewal may wait it is below the second
/// in which changes are promised to be seen. Shorter: `find` asks for each name a second time. What is opened is never of
/// another entry, whatever this is.
const TIME_TO_LIVE: Duration = Duration::from_millis(700);

/// The segment as a file system.
#[derive(Debug)]
pub struct StatsFilesystem {
    weir: Arc<Weir>,
    budget: Budget,
    /// Open files by their handles.
    open: RwLock<HashMap<u64, Arc<Text>>>,
    /// The next handle.
    next: AtomicU64,
    owner: (u32, u32),
    /// The time of change of everything.
    started: SystemTime,
}

impl StatsFilesystem {
    pub fn new(weir: Arc<Weir>) -> StatsFilesystem {
        StatsFilesystem {
            weir,
            budget: Budget::new(),
            open: RwLock::new(HashMap::new()),
            next: AtomicU64::new(1),
            started: SystemTime::now(),
            owner: (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()),
        }
    }

    fn view(&self) -> Result<Arc<View>, Refusal> {
        self.weir.view().ok_or(Refusal::Stale)
    }

    fn find(&self, folder: INodeNo, name: &OsStr) -> Result<FileAttr, Refusal> {
        let name = name.to_str().ok_or(Refusal::Absent)?;
        let folder = Inode::of_number(folder).ok_or(Refusal::Stale)?;
        // Without a weir there is the root, and nothing in it.
        let Some(view) = self.weir.view() else {
            return Err(if folder == Inode::ROOT { Refusal::Absent } else { Refusal::Stale });
        };
        Ok(self.attributes(Folder::find(&view, folder, name)?))
    }

    fn folder(&self, folder: INodeNo) -> Result<Folder, Refusal> {
        let folder = Inode::of_number(folder).ok_or(Refusal::Stale)?;
        match (folder, self.weir.view()) {
            (_, Some(view)) => Folder::of(&view, folder),
            (Inode::ROOT, None) => Ok(Folder::empty()),
            _ => Err(Refusal::Stale),
        }
    }

    fn read_file(&self, inode: INodeNo) -> Result<Text, Refusal> {
        let inode = Inode::of_number(inode).ok_or(Refusal::Stale)?;
        files::open(&*self.view()?, &self.budget, inode)
    }

    fn attributes(&self, inode: Inode) -> FileAttr {
        let (time, is_folder) = (self.started, inode.is_folder());
        FileAttr {
            ino: inode.number(),
            // As in /proc: it is known when it is read. Programs read on to the end.
            size: 0,
            blocks: 0,
            // Numbers change all the time; to say so would make programs that watch files believe that they were cut.
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: kind(inode),
            perm: if is_folder { 0o555 } else { 0o444 },
            // Of a folder: "not counted". With 2, `find` would take it for one without folders.
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn remember(&self, text: Text) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::new(text));
        FileHandle(handle)
    }

    fn recall(&self, FileHandle(handle): FileHandle) -> Option<Arc<Text>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned()
    }

    fn forget(&self, FileHandle(handle): FileHandle) {
        let gone = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        drop(gone); // after the lock
    }
}

impl Filesystem for StatsFilesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Names with their attributes: `ls -l`, `grep -r` and `cp -r` ask once a folder, not once a file. An old kernel
        // does without.
        let _ = config.add_capabilities(InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO);
        // Several requests on one folder at a time: nothing here is changed by a reader.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok(attributes) => reply.entry(&TIME_TO_LIVE, &attributes, Generation(0)),
            Err(refusal) => reply.error(refusal.errno()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        // The number says what it is. Whether it is still there is asked when it is looked up or opened: what was
        // removed and is still in use keeps its attributes, as files do.
        match Inode::of_number(inode) {
            Some(inode) => reply.attr(&TIME_TO_LIVE, &self.attributes(inode)),
            None => reply.error(Errno::ESTALE),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.read_file(inode) {
            Ok(text) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(self.remember(text), flags);
            }
            Err(refusal) => reply.error(refusal.errno()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.recall(handle) {
            Some(text) => reply.data(&text.part(offset, size)),
            None => reply.error(Errno::EBADF),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.forget(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.folder(inode) {
            // Nothing is kept of it, so all have the same handle.
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(refusal) => reply.error(refusal.errno()),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.folder(inode) {
            Ok(folder) => {
                folder.each_after(offset, |at, inode, name| reply.add(inode.number(), at, kind(inode), name));
                reply.ok();
            }
            Err(refusal) => reply.error(refusal.errno()),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.folder(inode) {
            Ok(folder) => {
                folder.each_after(offset, |at, inode, name| {
                    let attributes = self.attributes(inode);
                    reply.add(attributes.ino, at, name, &TIME_TO_LIVE, &attributes, Generation(0))
                });
                reply.ok();
            }
            Err(refusal) => reply.error(refusal.errno()),
        }
    }
}

fn kind(inode: Inode) -> FileType {
    if inode.is_folder() { FileType::Directory } else { FileType::RegularFile }
}
