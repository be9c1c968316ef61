//! Segments that somebody damaged, or made to do harm, behind a socket that a user reads: a sentence and exit status 1, in good
//! time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use weir_stats::{Options, Segment};

use crate::lab::{folder, memory, refused, served, shown, weirstat};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Words of the header, and of an entry.
const DIRECTORY: usize = 4;
const ENTRY: usize = 18;

/// A real segment's words.
struct Image(Vec<u64>);

impl Image {
    /// With a vector, a symlink to it, and names.
    fn new() -> Image {
        let mut segment =
            Segment::create(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap();
        segment
            .register(|batch| {
                let mut simple = batch.simple("/vector", 4, 8)?;
                simple.take_row(1).unwrap().add(2, 7);
                batch.symlink("/link", simple.id(), 2)?;
                let mut names = batch.names("/names", 2)?;
                batch.set_name(&mut names, 0, "first")?;
                batch.histogram("/histogram", 3, 4)?;
                batch.ring("/ring", 16, 4, b"schema")?;
                Ok(())
            })
            .unwrap();
        let mut bytes = vec![0; 1 << 20];
        File::from(segment.fd().unwrap().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes, 0).unwrap();
        let (words, _) = bytes.as_chunks::<8>();
        Image(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn directory(&self) -> usize {
        self.0[DIRECTORY] as usize / 8
    }

    /// Where the entry of this name is.
    fn entry(&self, name: &str) -> usize {
        let mut wanted = [0; 8];
        wanted[..name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
        let wanted = u64::from_le_bytes(wanted);
        let first = self.directory();
        let count = self.0[first - 1] as u32 as usize;
        (0..count).map(|entry| first + entry * ENTRY).find(|&entry| self.0[entry + 2] == wanted).unwrap()
    }

    /// Where the vector of an entry is.
    fn vector(&self, name: &str) -> usize {
        self.0[self.entry(name) + 1] as usize / 8
    }

    fn file(&self) -> File {
        memory(&self.0.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>(), true)
    }
}

const COMMANDS: [&[&str]; 4] =
    [&["dump"], &["--json", "dump", "--summary"], &["dump", "--only-index", "2"], &["poll"]];

/// What all that reads values says of it: exit status 1 and a sentence.
fn damaged(image: &Image, what: &str) {
    for words in COMMANDS {
        served(&image.file(), |socket| {
            let begin = Instant::now();
            let output = weirstat(socket, words);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
            let start =
                format!("weirstat: cannot read {}: the stats segment is damaged: {what}", socket.display());
            assert!(stderr.starts_with(&start) && stderr.lines().count() == 1, "{words:?}: {stderr}");
            assert!(begin.elapsed() < PATIENCE);
        });
    }
}

#[test]
fn what_is_not_damaged_is_read() {
    served(&Image::new().file(), |socket| {
        // Its writer's heart stopped when it was copied, but not for long.
        let text = shown(socket, &["dump", "--no-zeros", "/vector", "/link", "/names"]);
        assert_eq!(text, "[2 @ 1]: 7 packets /vector\n[0 @ 1]: 7 packets /link\n[0]: first /names\n");
    });
}

#[test]
fn a_directory_that_was_cut() {
    let mut image = Image::new();
    let directory = image.directory();
    image.0.truncate(directory + 3 * ENTRY);
    damaged(&image, "a vector reaches beyond its end");
}

#[test]
fn lengths_that_lie() {
    for name in ["/vector", "/histogram"] {
        let mut image = Image::new();
        let row = image.0[image.vector(name)] as usize / 8;
        image.0[row - 1] = u64::from(u32::MAX);
        damaged(&image, "a vector reaches beyond its end");
        let mut image = Image::new();
        let vector = image.vector(name);
        image.0[vector - 1] = u64::from(u32::MAX);
        damaged(&image, "a vector reaches beyond its end");
    }
    let mut image = Image::new();
    let directory = image.directory();
    image.0[directory - 1] = u64::from(u32::MAX);
    damaged(&image, "a vector reaches beyond its end");
}

#[test]
fn pointers_that_lead_outside() {
    for pointer in [1 << 40, u64::MAX, u64::MAX - 7] {
        for name in ["/vector", "/names"] {
            let mut image = Image::new();
            let entry = image.entry(name);
            image.0[entry + 1] = pointer;
            damaged(&image, "a pointer ");
            let mut image = Image::new();
            let vector = image.vector(name);
            image.0[vector] = pointer;
            damaged(&image, "a pointer ");
        }
    }
}

#[test]
fn symlinks_in_a_circle() {
    let mut image = Image::new();
    let (entry, directory) = (image.entry("/link"), image.directory());
    image.0[entry + 1] = ((entry - directory) / ENTRY) as u64;
    damaged(&image, "symlinks without an end");
    let mut image = Image::new();
    let entry = image.entry("/link");
    image.0[entry + 1] = u64::from(u32::MAX);
    damaged(&image, "a symlink to no entry");
    let mut image = Image::new();
    let (entry, target) = (image.entry("/link"), (image.entry("/vector") - image.directory()) / ENTRY);
    image.0[entry + 1] = target as u64 | 1 << 60;
    damaged(&image, "a symlink to a column that is not there");
}

#[test]
fn a_vector_of_endless_rows() {
    // The outer vector of what is only holes: room for it is in the file, which takes no memory.
    let mut image = Image::new();
    let entry = image.entry("/vector");
    image.0[entry + 1] = 1 << 30;
    let file = image.file();
    file.set_len(64 << 30).unwrap();
    file.write_all_at(&u64::from(u32::MAX).to_le_bytes(), (1 << 30) - 8).unwrap();
    served(&file, |socket| {
        let text = refused(socket, &["dump", "/vector"]);
        assert!(text.contains("a vector of more rows than any machine has threads"), "{text}");
    });
    served(&file, |socket| assert_eq!(shown(socket, &["ls", "/vector"]), "/vector\n"));
}

#[test]
fn a_file_that_is_cut_while_it_is_read() {
    let (_folder, _) = folder();
    let mut image = Image::new();
    let mut bytes: Vec<u8> = image.0.drain(..).flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(4 << 20, 0);
    let file = memory(&bytes, false);
    served(&file, |socket| {
        let begin = Instant::now();
        let mut child = crate::lab::command(socket, &["poll", "--interval", "0.01", "/vector"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        file.set_len(4096).unwrap();
        let mut line = String::new();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
        assert!(line.contains("the stats segment is damaged: ") && begin.elapsed() < PATIENCE, "{line}");
        assert_eq!(child.try_wait().unwrap(), None, "it waits for another weir, neither dead nor gone");
        child.kill().unwrap();
        child.wait().unwrap();
    });
}
