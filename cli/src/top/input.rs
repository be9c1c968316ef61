//! What a key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Take back what was done last: the help, the filter; leave if there is nothing to take back.
    Escape,
    /// Stop, as a job of the shell.
    Stop,
    /// Draw everything anew.
    Redraw,
    /// Show this view, counted from 0.
    Tab(usize),
    /// Show the view so many places further on.
    TurnTabs(isize),
    /// Sort by the column so many places further on.
    Sort(isize),
    /// Turn the order around.
    Reverse,
    /// Show or hide the keys.
    Help,
    /// Begin to type a filter.
    Filter,
    /// Stop reading, or go on.
    Pause,
    /// Read more often.
    Faster,
    /// Read less often.
    Slower,
    /// Move by so many rows.
    Scroll(isize),
    /// Move by so many screens.
    Page(isize),
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// Totals or rates.
    Totals,
    /// Hide or show rows of zeros.
    Zeros,
    /// A row for each thread, or for all.
    Threads,
    /// A character of the filter.
    Type(char),
    /// Remove the filter's last character.
    Erase,
    /// Remove the filter's text.
    EraseAll,
    /// The filter is complete.
    Accept,
    /// Fold or unfold the line that is chosen.
    Fold,
}

/// The keys, for the help.
pub const KEYS: [(&str, &str); 18] = [
    ("1 2 3 …", "views, by number"),
    ("Tab, Shift-Tab", "next view, the one before; also → and ←"),
    ("↑ ↓ PgUp PgDn", "move; also k, j; Home, End or g, G: first, last row"),
    ("Enter", "in Tree: unfold the customers of a node, fold it, open it again"),
    ("s or >, <", "sort by the next column, by the one before"),
    ("r", "reverse the order"),
    ("/", "show only names that match (regular expression, either case)"),
    ("t", "totals since weir's start, or rates"),
    ("w", "a line for each thread, or their sum"),
    ("z", "hide rows of zeros"),
    ("p or Space", "pause; what is counted meanwhile is in the next rates"),
    ("+ or -", "read less often, more often"),
    ("Ctrl-L", "draw everything anew"),
    ("Ctrl-Z", "stop; fg goes on"),
    ("? or h", "this help"),
    ("Esc", "close the help, remove the filter, or quit"),
    ("q or Ctrl-C", "quit"),
    ("", "pps, bps: packets, bits a second; k, M, G: powers of 1000"),
];

/// What a key asks for, while a filter is being typed or not. `None` for keys without a meaning.
pub fn action(key: KeyEvent, typing: bool) -> Option<Action> {
    // Some terminals also say when a key is let go.
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Stop),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('u') if typing => Some(Action::EraseAll),
            // What the backspace key sends on some terminals.
            KeyCode::Char('h') if typing => Some(Action::Erase),
            _ => None,
        };
    }
    // The terminal's or the window manager's business.
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    if typing {
        return match key.code {
            KeyCode::Char(character) => Some(Action::Type(character)),
            KeyCode::Backspace => Some(Action::Erase),
            KeyCode::Enter => Some(Action::Accept),
            KeyCode::Esc => Some(Action::Escape),
            _ => None,
        };
    }
    let action = match key.code {
        KeyCode::Esc => Action::Escape,
        KeyCode::Tab | KeyCode::Right => Action::TurnTabs(1),
        KeyCode::BackTab | KeyCode::Left => Action::TurnTabs(-1),
        KeyCode::Up => Action::Scroll(-1),
        KeyCode::Down => Action::Scroll(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home => Action::Home,
        KeyCode::End => Action::End,
        KeyCode::F(1) => Action::Help,
        KeyCode::Enter => Action::Fold,
        KeyCode::Char(digit @ '1'..='9') => Action::Tab(digit as usize - '1' as usize),
        KeyCode::Char(character) => match character {
            'q' => Action::Quit,
            '?' | 'h' => Action::Help,
            's' | '>' => Action::Sort(1),
            '<' => Action::Sort(-1),
            'r' => Action::Reverse,
            '/' => Action::Filter,
            ' ' | 'p' => Action::Pause,
            '+' | '=' => Action::Slower,
            '-' | '_' => Action::Faster,
            'k' => Action::Scroll(-1),
            'j' => Action::Scroll(1),
            'g' => Action::Home,
            'G' => Action::End,
            't' => Action::Totals,
            'z' => Action::Zeros,
            'w' => Action::Threads,
            _ => return None,
        },
        _ => return None,
    };
    Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, typing: bool) -> Option<Action> {
        action(KeyEvent::new(code, KeyModifiers::NONE), typing)
    }

    #[test]
    fn letters_are_text_while_a_filter_is_typed() {
        assert_eq!(key(KeyCode::Char('q'), false), Some(Action::Quit));
        assert_eq!(key(KeyCode::Char('q'), true), Some(Action::Type('q')));
        assert_eq!(key(KeyCode::Char('2'), false), Some(Action::Tab(1)));
        assert_eq!(key(KeyCode::Char('2'), true), Some(Action::Type('2')));
        assert_eq!(key(KeyCode::Char('x'), false), None);
    }

    #[test]
    fn control_c_always_leaves() {
        for typing in [false, true] {
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(action(key, typing), Some(Action::Quit));
            assert_eq!(action(KeyEvent { kind: KeyEventKind::Release, ..key }, typing), None);
        }
    }
}
