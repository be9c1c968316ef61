//! What each port receives a second, and what is dropped and why: `cargo run -p weir-stats --example watch -- SOCKET`.

use std::time::Duration;

use weir_stats::{Columns, Connection, Subscription, Update, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or("/run/weir/stats.sock".to_owned());
    let mut ports = Subscription::new(&path, |entry| entry.name == "/if/rx" || entry.name == "/node/errors");
    loop {
        match ports.update() {
            // The first reading of a writer has nothing to be compared with.
            Update::Values(reading) => {
                for change in reading.change.iter() {
                    // Names can change whenever the epoch moves; here they are simply read again.
                    let connection = Connection::connect(&path)?;
                    let (reader, listing) = (connection.reader(), connection.reader().list()?);
                    for (entry, value) in &change.values.values {
                        let Some(described) = reading.catalogue.describe(&entry.name) else { continue };
                        let columns = Columns::of(&described, entry, &listing, reader)?;
                        let packets: Vec<u64> = match value.merged() {
                            Value::Simple(rows) => rows.concat(),
                            Value::Combined(rows) => rows.concat().iter().map(|pair| pair.packets).collect(),
                            _ => continue,
                        };
                        for (column, packets) in packets.into_iter().enumerate().filter(|(_, it)| *it > 0) {
                            let name = columns.name(column).unwrap_or_default();
                            let help = &described.description.help;
                            println!("{name}: {help}: {:.1} packets/s", change.per_second(packets));
                        }
                    }
                }
            }
            Update::Absent(absence) => eprintln!("no weir at {path}: {absence:?}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
