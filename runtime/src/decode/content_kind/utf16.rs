//! Recognizes UTF-16 without a byte order mark, and UTF-32, by the beginning of an input. Both are recognized in either
//! byte order. Texts in all scripts have line ends and digits, and in UTF-16 one of the two bytes of such a character
//! is NUL.

/// The minimum number of code units that is enough to recognize an encoding.
const UNITS_MIN: usize = 4;

/// A text in UTF-16.
pub(super) struct Utf16 {
    /// The label of the encoding with its byte order, such as `utf-16le`.
    pub(super) label: &'static str,
    /// True if the bytes are surely UTF-16: they are not valid UTF-8, or almost every second byte would be a control
    /// character in UTF-8.
    pub(super) is_certain: bool,
}

/// Returns the byte order in which bytes can be read as a text. Returns `None` if this is possible in both byte orders,
/// or in neither. If `is_named` is true, the request names UTF-16, and fewer code units are enough.
pub(super) fn detect(bytes: &[u8], is_named: bool) -> Option<Utf16> {
    memchr::memchr(0, bytes)?;
    let [little, big] = [u16::from_le_bytes, u16::from_be_bytes].map(|unit| Units::count(bytes, unit));
    let units_min = if is_named { 1 } else { UNITS_MIN };
    let (label, units) = match (little.is_text(&big, units_min), big.is_text(&little, units_min)) {
        (true, false) => ("utf-16le", little),
        (false, true) => ("utf-16be", big),
        _ => return None,
    };
    let is_utf8 = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    Some(Utf16 {
        label,
        is_certain: !is_utf8 || units.begins_low && 10 * units.low >= 9 * units.all,
    })
}

/// Returns whether bytes are UTF-32 in either byte order: each four bytes are a character.
pub(in crate::decode) fn is_utf32(bytes: &[u8]) -> bool {
    let (units, _) = bytes.as_chunks::<4>();
    let is_text = |number: fn([u8; 4]) -> u32| {
        let mut characters = units.iter().map(|unit| char::from_u32(number(*unit)));
        characters.all(|c| {
            c.is_some_and(|c| {
                matches!(c, '\t' | '\n' | '\r' | ' '..='\u{3ffff}') && !matches!(c, '\u{7f}'..='\u{9f}')
            })
        })
    };
    units.len() >= UNITS_MIN && (is_text(u32::from_le_bytes) || is_text(u32::from_be_bytes))
}

/// The numbers of code units of a text in one byte order, by kind.
#[derive(Default)]
struct Units {
    all: usize,
    /// The number of line ends.
    lines: usize,
    /// The number of printable ASCII characters and white space.
    ascii: usize,
    /// The number of printable ASCII characters and white space, without `N` and `0`. In the other byte order, 一 and
    /// the ideographic space look like these two.
    ascii_only: usize,
    /// The number of units up to U+00FF.
    latin: usize,
    /// The number of units below U+2000, the range of the alphabets.
    low: usize,
    /// True if the first unit is below U+2000.
    begins_low: bool,
    /// The number of units that are rare in texts, such as halves of surrogate pairs, control characters, and
    /// characters for private use.
    odd: usize,
    /// The number of units that can be two characters of a one-byte encoding: the high byte is a line end, a comma or a
    /// hyphen.
    of_bytes: usize,
}

impl Units {
    fn count(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Self {
        let (pairs, _) = bytes.as_chunks::<2>();
        let mut units = Self::default();
        for found in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
            let c = found.map_or('\0', |c| c);
            if units.all == 0 {
                units.begins_low = c < '\u{2000}';
            }
            units.all += 1;
            match c {
                '\n' | '\r' => units.lines += 1,
                '\0' | '\u{2}'..='\u{8}' | '\u{e}'..='\u{19}' | '\u{7f}'..='\u{9f}' => units.odd += 1,
                '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{ffff}' => units.odd += 1,
                '\u{3400}'..='\u{4dbf}' | '\u{40000}'.. => units.odd += 1,
                '\u{a00}'..='\u{aff}' | '\u{d0a}' | '\u{2c00}'..='\u{2dff}' => units.of_bytes += 1,
                _ => {}
            }
            units.ascii += usize::from(matches!(c, '\t' | '\n' | '\r' | ' '..='~'));
            units.ascii_only +=
                usize::from(matches!(c, '\t' | '\n' | '\r' | ' '..='~') && !matches!(c, 'N' | '0'));
            units.latin += usize::from(matches!(c, '\u{1}'..='\u{ff}'));
            units.low += usize::from(matches!(c, '\u{1}'..='\u{1fff}'));
        }
        units
    }

    /// Returns whether these are the units of a text. `other` has the units of the same bytes in the other byte order.
    fn is_text(&self, other: &Self, units_min: usize) -> bool {
        // Some scripts are in the range of `of_bytes`. If most units beyond ASCII are in this range, the text is in
        // such a script.
        let is_script = 2 * self.of_bytes > self.all - self.ascii;
        let odd = self.odd + if is_script { 0 } else { self.of_bytes };
        let is_latin = self.all >= UNITS_MIN && self.ascii_only > 0 && 10 * self.latin >= 9 * self.all;
        self.all >= units_min
            && 20 * odd <= self.all
            && 3 * other.ascii_only <= self.ascii
            && (self.lines > 0 && other.lines == 0 || is_latin)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::Encoding;

    use super::*;

    const TEXTS: &[&str] = &[
        "番号,名前\n1,花子\n",
        "编号,名称\n1,上海\n",
        "一,二\n三,一\n",
        "番号;名前\r\n一;　\r\n",
        "номер,имя\n1,Анна\n",
        "№;“имя”\n1;“Анна”\n",
        "αριθμός,όνομα\n1,Άννα\n",
        "رقم,اسم\n1,آنا\n",
        "מספר,שם\n1,חנה\n",
        "번호,이름\n1,가나\n",
        "क्रम,नाम\n1,अन्ना\n",
        "ਨੰਬਰ,ਨਾਮ\n1,ਅੰਨਾ\n",
        "ลำดับ,ชื่อ\n1,แอนนา\n",
        "id,name\n1,café\n2,Łódź\n",
        "😀,😁\n1,😂\n",
        "я\n1\n",
        "あい,うえ\n1,2\n",
        "id,name",
        "a\tb\r1\tび\r",
    ];

    fn bytes_of(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    fn label(bytes: &[u8]) -> Option<&'static str> {
        detect(bytes, false).map(|utf16| utf16.label)
    }

    #[test]
    fn a_text_of_any_script_is_recognized_in_its_byte_order() {
        for text in TEXTS {
            let long = text.to_string() + &text.repeat(99);
            for text in [text, long.as_str()] {
                let (little, big) = (bytes_of(text, u16::to_le_bytes), bytes_of(text, u16::to_be_bytes));
                assert_eq!(label(&little), Some("utf-16le"), "{text:?}");
                let [little_32, big_32] = [u32::to_le_bytes, u32::to_be_bytes]
                    .map(|to_bytes| text.chars().flat_map(|c| to_bytes(c.into())).collect::<Vec<_>>());
                assert!(
                    is_utf32(&little_32) && is_utf32(&big_32) && !is_utf32(&little) && !is_utf32(&big),
                    "{text:?}"
                );
                assert_eq!((label(&little_32), label(&big_32)), (None, None), "{text:?}");
                assert_eq!(label(&big), Some("utf-16be"), "{text:?}");
                let cut = &little[..little.len() - 1];
                assert!(
                    cut.len() < 2 * UNITS_MIN || label(cut) == Some("utf-16le"),
                    "{text:?}"
                );
            }
        }
        for text in ["номер,имя\n1,Анна\n", "番号,名前\n1,花子\n", "id,name\n1,x\n"] {
            assert!(
                detect(&bytes_of(text, u16::to_le_bytes), false)
                    .unwrap()
                    .is_certain,
                "{text:?}"
            );
        }
        for text in [
            "一",
            "一一一一",
            "　一　一",
            "一一一一一一一一一一一一一一一一一一一一\n",
        ] {
            for to_bytes in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                let is_other = |utf16: &Utf16| (utf16.label == "utf-16be") == (to_bytes(1) == [1, 0]);
                let bytes = bytes_of(text, to_bytes);
                assert!(
                    [false, true]
                        .map(|is_named| detect(&bytes, is_named))
                        .iter()
                        .flatten()
                        .all(|utf16| !is_other(utf16)),
                    "{text:?}"
                );
            }
        }
        // These bytes are also legal in UTF-8.
        assert!(
            !detect(&bytes_of("あい,うえ\n", u16::to_le_bytes), false)
                .unwrap()
                .is_certain
        );
        assert!(
            !detect(b"c0\n\0a\0b\0c\0d\0e\0f\0g\0h\0i\0j\0\n\0", false)
                .unwrap()
                .is_certain
        );
    }

    #[test]
    fn a_text_of_bytes_is_none_in_utf_16() {
        let tables = [
            ("windows-1252", "id,größe,Straße\n1,é,ü\n2,ç,ñ\n"),
            ("windows-1252", "prénom;âge\r\nJosé;31\r\nZoë;9\r\n"),
            ("windows-1251", "номер,имя\n1,Анна\n2,Борис\n"),
            ("koi8-r", "номер;имя\n1;Анна\n2;Борис\n"),
            ("ibm866", "номер\tимя\n1\tАнна\n2\tБорис\n"),
            ("windows-1253", "αριθμός,όνομα\n1,Άννα\n"),
            ("windows-1255", "מספר,שם\n1,חנה\n"),
            ("windows-1256", "رقم,اسم\n1,آنا\n"),
            ("shift_jis", "番号,名前\n1,花子\n2,太郎\n"),
            ("euc-jp", "番号,名前\n1,花子\n2,太郎\n"),
            ("gbk", "编号,名称\n1,上海\n2,北京\n"),
            ("big5", "編號,名稱\n1,上海\n2,北京\n"),
            ("euc-kr", "번호,이름\n1,가나\n2,다라\n"),
            ("utf-8", "番号,名前\n1,花子\n2,太郎\n"),
            ("utf-8", "name,age\nAnna,31\nBob,9\nCarl,10\nZoe,7\n"),
            ("utf-8", "ab\nc\nde\nf\n"),
        ];
        let mut number = 0;
        for (encoding, text) in tables {
            let fills = ["", "\0", "\0\0", "\0\0\0"];
            for (before, after) in fills.iter().flat_map(|before| fills.map(|after| (before, after))) {
                for repeat in [1, 20] {
                    // The NULs are around each field.
                    let mut filled = text.repeat(repeat);
                    for end in [",", ";", "\t", "\n"] {
                        filled = filled.replace(end, &format!("{after}{end}{before}"));
                    }
                    let encoding = Encoding::for_label(encoding.as_bytes()).unwrap();
                    let (bytes, _, has_errors) = encoding.encode(&filled);
                    assert!(!has_errors);
                    assert_eq!(label(&bytes), None, "{} {filled:?}", encoding.name());
                    assert!(!is_utf32(&bytes), "{} {filled:?}", encoding.name());
                    number += 1;
                }
            }
        }
        assert_eq!(number, tables.len() * 32);
        for bytes in [
            &b"a\0b,c\0d\n1\0,2\0\n"[..],
            b"",
            b"\0",
            b"\n\0",
            b"a,b\nx\0\0\0,y\n",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10",
            b"MM\0*\0\0\0\x08\0\x0a\0\x0c\0\x0a\0\x03",
        ] {
            assert_eq!(label(bytes), None, "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
