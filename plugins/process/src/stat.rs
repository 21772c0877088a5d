//! `/proc/PID/stat` (proc_pid_stat(5)).
//!
//! Not procfs-core's `Stat`: it copies line and name of each process into memory of their own, and
//! reads all 52 fields, of which nine are wanted here.

/// What is wanted of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: State,
    pub(crate) parent: u32,
    /// It has no program: a thread of the kernel.
    pub(crate) is_kernel: bool,
    /// Time in user mode, in ticks.
    pub(crate) user: u64,
    /// Time in the kernel, in ticks.
    pub(crate) system: u64,
    pub(crate) threads: u64,
    /// When it started, in ticks after boot.
    pub(crate) start: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_pages: u64,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Sleeping,
    Blocked,
    Stopped,
    Zombie,
    Idle,
    Unknown,
}

/// `PF_KTHREAD` of linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Reads `812 (name) S 1 …`; gives the name's bytes too. The name may hold anything, parentheses,
/// spaces and line feeds too: it ends at the last parenthesis. `None` if a field is missing or is
/// no number.
pub(crate) fn parse(line: &[u8]) -> Option<(Stat, &[u8])> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    let mut fields = line.get(close + 2..)?.split(|byte| *byte == b' ');
    let mut number = |skipped: usize| self::number(fields.nth(skipped)?);
    let stat = Stat {
        state: State::of(*line.get(close + 2)?),
        parent: u32::try_from(number(1)?).ok()?, // field 4 of proc_pid_stat(5)
        is_kernel: number(4)? & KERNEL_THREAD != 0, // 9
        user: number(4)?,                        // 14
        system: number(0)?,                      // 15
        threads: number(4)?,                     // 20
        start: number(1)?,                       // 22
        virtual_bytes: number(0)?,               // 23
        resident_pages: number(0)?,              // 24
    };
    Some((stat, name))
}

/// A number in decimal digits.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

impl Stat {
    /// All CPU time, in ticks.
    pub(crate) fn cpu(&self) -> u64 {
        self.user.saturating_add(self.system)
    }
}

impl State {
    fn of(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' => Self::Sleeping,
            b'D' => Self::Blocked,
            b'T' | b't' => Self::Stopped,
            b'Z' => Self::Zombie,
            b'I' => Self::Idle,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Blocked => "blocked",
            Self::Stopped => "stopped",
            Self::Zombie => "zombie",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number is the field's own place.
    fn line(name: &[u8], state: &str) -> Vec<u8> {
        let rest: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        [b"812 (", name, b") ", state.as_bytes(), b" ", rest.join(" ").as_bytes(), b"\n"].concat()
    }

    #[test]
    fn each_field_comes_from_its_place() {
        let line = line(b"a", "S");
        let expected = Stat {
            state: State::Sleeping,
            parent: 4,
            is_kernel: false,
            user: 14,
            system: 15,
            threads: 20,
            start: 22,
            virtual_bytes: 23,
            resident_pages: 24,
        };
        assert_eq!(parse(&line), Some((expected, b"a".as_slice())));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let names: [&[u8]; 7] =
            [b"(sd-pam)", b") R 1 (", b"tmux: server", b"a\nb", b"\xff\xfe", b"", b"a) S 7 7"];
        for name in names {
            assert_eq!(parse(&line(name, "R")).map(|(_, found)| found), Some(name));
        }
    }

    #[test]
    fn each_letter_has_its_word() {
        let words = [
            ("R", "running"),
            ("S", "sleeping"),
            ("D", "blocked"),
            ("T", "stopped"),
            ("t", "stopped"),
            ("Z", "zombie"),
            ("I", "idle"),
            ("P", "unknown"),
            ("X", "unknown"),
        ];
        for (letter, word) in words {
            let line = line(b"a", letter);
            assert_eq!(parse(&line).map(|(stat, _)| stat.state.name()), Some(word), "{letter}");
        }
    }

    #[test]
    fn a_thread_of_the_kernel_is_known_by_its_flag() {
        let text = String::from_utf8(line(b"kthreadd", "S")).unwrap();
        let text = text.replacen(" 9 ", " 2129984 ", 1); // as Linux 6.18 has it
        assert!(parse(text.as_bytes()).unwrap().0.is_kernel);
    }

    #[test]
    fn a_line_cut_short_or_with_a_word_for_a_number_is_refused() {
        let whole = String::from_utf8(line(b"a", "S")).unwrap();
        for cut in ["", "812", "812 (a", "812 (a)", "812 (a) ", "812 (a) S", "812 (a) S 4 5 6"] {
            assert_eq!(parse(cut.as_bytes()), None, "{cut}");
        }
        for (good, bad) in
            [(" 14 ", " x "), (" 22 ", " -1 "), (" 24 ", "  "), (" 4 ", " 4294967296 ")]
        {
            assert_eq!(parse(whole.replacen(good, bad, 1).as_bytes()), None, "{bad}");
        }
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    }
}
