//! The summary as a table.

use std::io;

use super::accounts::{Account, Accounts, Side};

const HEADS: [&str; 10] = [
    "samples",
    "min ms",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
    "retransmitted",
    "reordered",
    "packets",
    "bytes",
];

/// Writes a line for each account, and one for all together. Columns are aligned, and separated by blanks.
pub fn write(accounts: &Accounts, customers: bool, out: &mut impl io::Write) -> io::Result<()> {
    let first = if customers { ["customer", "side"] } else { ["to network", ""] };
    let mut lines = vec![line(first.map(str::to_owned), HEADS.map(str::to_owned))];
    for (name, side, account) in accounts.rows() {
        let side = match side {
            Some(Side::Lan) => "lan",
            Some(Side::Wan) => "wan",
            None => "",
        };
        lines.push(line([name, side.to_owned()], cells(account)));
    }
    lines.push(line(["all".to_owned(), String::new()], cells(&accounts.all)));
    let mut widths = vec![0; first.len() + HEADS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in &lines {
        let mut text = String::new();
        for (column, (cell, width)) in
            line.iter().zip(&widths).enumerate().filter(|(_, (_, width))| **width > 0)
        {
            let gap = " ".repeat(width - cell.chars().count());
            let (before, after) = if column < first.len() { ("", gap.as_str()) } else { (gap.as_str(), "") };
            text.extend([if text.is_empty() { "" } else { "  " }, before, cell, after]);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn line<const A: usize, const B: usize>(names: [String; A], numbers: [String; B]) -> Vec<String> {
    names.into_iter().chain(numbers).collect()
}

fn cells(account: &Account) -> [String; HEADS.len()] {
    let extremes = account.extremes();
    let quantile = |q| milliseconds(account.quantile(q));
    [
        account.samples().to_string(),
        milliseconds(extremes.map(|it| it.0)),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        milliseconds(extremes.map(|it| it.1)),
        account.retransmissions.to_string(),
        account.reordered.to_string(),
        account.packets.to_string(),
        account.bytes.to_string(),
    ]
}

fn milliseconds(nanoseconds: Option<u64>) -> String {
    match nanoseconds {
        Some(nanoseconds) => format!("{:.3}", nanoseconds as f64 / 1e6),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefixes::{Named, bits};

    fn text(accounts: &Accounts, customers: bool) -> String {
        let mut out = Vec::new();
        write(accounts, customers, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned() {
        let (client, server) = (bits([10, 0, 0, 1].into()), bits([192, 0, 2, 1].into()));
        let customers = vec![Named { prefix: (client, 128), name: "née 1".into() }];
        let mut named = Accounts::new(Some(customers));
        let mut networks = Accounts::new(None);
        for accounts in [&mut named, &mut networks] {
            accounts.pass(client, server, 1514);
            accounts.pass(server, client, 66);
            accounts.retransmission(client, server);
            accounts.sample(server, client, 12_345_678);
        }
        assert_eq!(
            text(&named, true),
            "customer  side  samples  min ms  p50 ms  p90 ms  p99 ms  max ms  retransmitted  reordered  packets  bytes\n\
             née 1     lan         0       -       -       -       -       -              0          0        1     66\n\
             née 1     wan         1  12.346  12.346  12.346  12.346  12.346              1          0        1   1514\n\
             all                   1  12.346  12.346  12.346  12.346  12.346              1          0        2   1580\n"
        );
        assert_eq!(
            text(&networks, false),
            "to network    samples  min ms  p50 ms  p90 ms  p99 ms  max ms  retransmitted  reordered  packets  bytes\n\
             10.0.0.0/24         0       -       -       -       -       -              0          0        1     66\n\
             192.0.2.0/24        1  12.346  12.346  12.346  12.346  12.346              1          0        1   1514\n\
             all                 1  12.346  12.346  12.346  12.346  12.346              1          0        2   1580\n"
        );
    }
}
