//! The first bytes of a file in; out comes which binary format they are of. A format whose mark is letters only is told by
//! what follows it, too: `PK,name` is a header.

use memchr::memmem;

use super::{Advice, Kind};
use crate::format::clip;

use Advice::{Convert, Extract, Recompress, TakeTheFile};

/// A mark at its place, what has it there, and what to do.
type Mark = (usize, &'static [u8], &'static str, Advice);

/// Marks that no text has.
const MARKS: &[Mark] = &[
    (
        0,
        b"\x1f\x8b\x08",
        "compressed twice, by gzip",
        Advice::DecompressOnce,
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "compressed twice, by zstd",
        Advice::DecompressOnce,
    ),
    (0, b"\xfd7zXZ\0", "compressed by xz", Recompress),
    (0, b"BZh", "compressed by bzip2", Recompress), // see `is_bzip2`
    (0, b"\x04\x22\x4d\x18", "compressed by lz4", Recompress),
    (0, b"\x02\x21\x4c\x18", "compressed by lz4", Recompress),
    (0, b"\xff\x06\0\0sNaPpY", "compressed by snappy", Recompress),
    (0, b"\x89LZO\0\r\n\x1a\n", "compressed by lzop", Recompress),
    (0, b"\x5d\0\0", "compressed by lzma", Recompress),
    (0, b"\x1f\x9d", "compressed by compress (.Z)", Recompress),
    (0, b"\x1f\xa0", "compressed by compress (.Z)", Recompress),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", Extract),
    (0, b"Rar!\x1a\x07", "a RAR archive", Extract),
    (0, b"MSCF\0\0\0\0", "a CAB archive", Extract),
    (
        0,
        b"!<arch>\n",
        "an ar archive, such as a Debian package",
        Extract,
    ),
    (0, b"xar!\0", "a XAR archive", Extract),
    (0, b"\xed\xab\xee\xdb", "an RPM package", Extract),
    (0, b"SQLite format 3\0", "an SQLite database", Convert),
    (0, b"ARROW1\0\0", "an Arrow file (Feather)", Convert),
    (
        0,
        b"\xff\xff\xff\xff",
        "an Arrow stream or other binary data",
        Convert,
    ),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", Convert),
    (0, b"CDF\x02", "a NetCDF file", Convert),
    (0, b"\x93NUMPY", "a NumPy array", Convert),
    (0, b"\x80\x02", "a Python pickle", Convert),
    (0, b"\x80\x03", "a Python pickle", Convert),
    (0, b"\x80\x04\x95", "a Python pickle", Convert),
    (0, b"\x80\x05\x95", "a Python pickle", Convert),
    (0, b"X\n\0\0\0", "an R data file", Convert),
    (0, b"$FL2@(#)", "an SPSS file", Convert),
    (0, b"$FL3@(#)", "an SPSS file", Convert),
    (0, b"<stata_dta>", "a Stata file", Convert),
    (12, b"\xc2\xea\x81\x60\xb3\x14\x11\xcf", "a SAS file", Convert),
    (0, b"\0\x01\0\0Standard Jet DB", "an Access database", Convert),
    (0, b"\0\x01\0\0Standard ACE DB", "an Access database", Convert),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Office file (XLS, DOC)",
        Advice::SaveSheet,
    ),
    (
        0,
        b"\x09\x08\x10\0\0\x06\x05\0",
        "an Excel sheet (XLS)",
        Advice::SaveSheet,
    ),
    (0, b"\x09\x04\x06\0", "an Excel sheet (XLS)", Advice::SaveSheet),
    (0, b"\x09\x02\x06\0", "an Excel sheet (XLS)", Advice::SaveSheet),
    (0, b"\x09\0\x04\0", "an Excel sheet (XLS)", Advice::SaveSheet),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", TakeTheFile),
    (0, b"\xff\xd8\xff", "a JPEG image", TakeTheFile),
    (0, b"II*\0", "a TIFF image", TakeTheFile),
    (0, b"MM\0*", "a TIFF image", TakeTheFile),
    (0, b"8BPS\0\x01", "a Photoshop image", TakeTheFile),
    (0, b"\0\0\x01\0", "an icon", TakeTheFile),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", TakeTheFile),
    (0, b"\xff\x0a", "a JPEG XL image", TakeTheFile),
    (0, b"OggS\0", "an Ogg file", TakeTheFile),
    (0, b"fLaC\0", "a FLAC file", TakeTheFile),
    (0, b"ID3\x02\0", "an MP3 file", TakeTheFile),
    (0, b"ID3\x03\0", "an MP3 file", TakeTheFile),
    (0, b"ID3\x04\0", "an MP3 file", TakeTheFile),
    (0, b"\xff\xfb", "an MP3 file", TakeTheFile),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", TakeTheFile),
    (0, b"\0\0\x01\xba", "an MPEG video", TakeTheFile),
    (0, b"\x7fELF", "a program (ELF)", TakeTheFile),
    (
        0,
        b"\xca\xfe\xba\xbe",
        "a program (Java class or Mach-O)",
        TakeTheFile,
    ),
    (0, b"\xcf\xfa\xed\xfe", "a program (Mach-O)", TakeTheFile),
    (0, b"\0asm", "a WebAssembly module", TakeTheFile),
    (0, b"\0\x01\0\0\0", "a font", TakeTheFile),
    (0, b"\xd4\xc3\xb2\xa1", "a packet capture", Convert),
    (0, b"\xa1\xb2\xc3\xd4", "a packet capture", Convert),
    (8, b"\x4d\x3c\x2b\x1a", "a packet capture", Convert),
    (0, b"\0\0\x27\x0a\0\0\0\0", "a shapefile", Convert),
    (0, b"\0\0\0\x01Bud1", "a .DS_Store file", TakeTheFile),
    (0, b"\0\x05\x16\x07", "an AppleDouble file", TakeTheFile),
    (0, b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut", TakeTheFile),
];

/// Marks that a text may begin with. They count only if there are bytes behind them that no text has.
const MARKS_OF_LETTERS: &[Mark] = &[
    (0, b"PAR1", "a Parquet file", Convert),
    (0, b"PARE", "an encrypted Parquet file", Convert),
    (0, b"ORC", "an ORC file", Convert),
    (0, b"FEA1", "a Feather file", Convert),
    (0, b"ARROW1", "an Arrow file (Feather)", Convert),
    (0, b"LZIP\x01", "compressed by lzip", Recompress),
    (0, b"Obj\x01", "an Avro file", Convert),
    (0, b"CDF\x01", "a NetCDF file", Convert),
    (0, b"RDX2\n", "an R data file", Convert),
    (0, b"RDX3\n", "an R data file", Convert),
    (8, b"DUCK", "a DuckDB database", Convert),
    (0, b"bplist00", "a binary property list", Convert),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", Convert),
    (0, b"REDIS00", "a dump of Redis", Convert),
    (0, b"GIF87a", "a GIF image", TakeTheFile),
    (0, b"GIF89a", "a GIF image", TakeTheFile),
    (0, b"BM", "a BMP image", TakeTheFile),
    (0, b"MZ", "a Windows program", TakeTheFile),
    (0, b"wOFF", "a font", TakeTheFile),
    (0, b"wOF2", "a font", TakeTheFile),
    (0, b"Salted__", "encrypted by OpenSSL", Advice::Decrypt),
    (0, b"d8:announce", "a torrent file", TakeTheFile),
    (4, b"ftyp", "a video or image (MP4, HEIC, AVIF)", TakeTheFile),
    (8, b"WEBP", "a WebP image", TakeTheFile),
    (8, b"WAVE", "a WAV file", TakeTheFile),
    (8, b"AVI ", "an AVI video", TakeTheFile),
];

pub(super) fn of(bytes: &[u8]) -> Option<Kind> {
    if let Some(kind) = zip(bytes).or_else(|| tar(bytes)) {
        return Some(kind);
    }
    let has = |&(at, mark, ..): &Mark| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let is_there = |mark: &&Mark| has(mark) && is_confirmed(mark.1, bytes);
    let of_letters = || {
        MARKS_OF_LETTERS
            .iter()
            .find(is_there)
            .filter(|_| has_binary(bytes))
    };
    if let Some((.., what, advice)) = MARKS.iter().find(is_there).or_else(of_letters) {
        return Some(Kind::new(*what, advice.clone()));
    }
    is_cpio(bytes).then(|| Kind::new("a cpio archive", Extract))
}

/// Whether the rest of a short mark is there, too.
fn is_confirmed(mark: &[u8], bytes: &[u8]) -> bool {
    match mark {
        b"BZh" => is_bzip2(bytes),
        // Behind the size of the file are bytes that nobody uses.
        b"BM" => bytes.get(6..10) == Some(&[0; 4]),
        b"WEBP" | b"WAVE" | b"AVI " => bytes.starts_with(b"RIFF"),
        b"\x4d\x3c\x2b\x1a" => bytes.starts_with(b"\x0a\x0d\x0d\x0a"),
        _ => true,
    }
}

/// The number behind the mark is the size of a block, then comes pi or, in an empty file, its square root.
fn is_bzip2(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, _, b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [_, _, _, b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..]
    )
}

/// A header of digits only: 8 hex digits a number, or octal ones.
fn is_cpio(bytes: &[u8]) -> bool {
    let digits =
        |len: usize, is: fn(&u8) -> bool| bytes.get(6..len).is_some_and(|header| header.iter().all(is));
    match bytes {
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => digits(110, u8::is_ascii_hexdigit),
        [b'0', b'7', b'0', b'7', b'0', b'7', ..] => digits(76, |byte| matches!(byte, b'0'..=b'7')),
        [0xc7, 0x71, ..] => has_binary(bytes),
        _ => false,
    }
}

/// Control characters other than white space and those that people put between fields and records.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0 | 2..=8 | 0x0e..=0x19)
}

/// Whether there are bytes that no text has.
fn has_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(1 << 10).copied().any(is_control)
}

/// The most different ones that a text usually has: its fields may be filled up with one of them, and a few may be left over.
pub(super) const DIFFERENT_CONTROLS_MAX: usize = 3;

/// Returns how many different ones there are.
pub(super) fn different_controls(bytes: &[u8]) -> usize {
    let controls = (0..=0x19).filter(|&byte| is_control(byte));
    controls.filter(|control| bytes.contains(control)).count()
}

/// Whether a third of the first bytes or more are such, and of many kinds.
pub(super) fn is_mostly_binary(bytes: &[u8]) -> bool {
    const LEAST_BYTES: usize = 32;
    let start = &bytes[..bytes.len().min(512)];
    let controls = start.iter().filter(|&&byte| is_control(byte)).count();
    start.len() >= LEAST_BYTES
        && 3 * controls >= start.len()
        && different_controls(start) > DIFFERENT_CONTROLS_MAX
}

/// Names of entries by which a ZIP archive is something else.
const ZIP_ENTRIES: &[(&str, &str, Advice)] = &[
    ("xl/", "an Excel workbook (XLSX)", Advice::SaveSheet),
    ("word/", "a Word document (DOCX)", Advice::SaveSheet),
    ("ppt/", "a PowerPoint presentation (PPTX)", TakeTheFile),
    ("Index/", "a Numbers or Pages document", Advice::SaveSheet),
    ("META-INF/", "a Java archive", TakeTheFile),
    ("AndroidManifest.xml", "an Android package", TakeTheFile),
    ("doc.kml", "a KMZ file", Convert),
    (
        "[Content_Types].xml",
        "an Office file (XLSX, DOCX)",
        Advice::SaveSheet,
    ),
];

/// A ZIP archive, and what it is by the entries that begin in the sample.
fn zip(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => {}
        // An empty one, or a part of several.
        [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => return Some(Kind::new("a ZIP archive", Extract)),
        _ => return None,
    }
    let entries = || {
        memmem::find_iter(bytes, b"PK\x03\x04").filter_map(|at| {
            let header = bytes.get(at..at + 30)?;
            let name_bytes = usize::from(u16::from_le_bytes([header[26], header[27]]));
            let more_bytes = usize::from(u16::from_le_bytes([header[28], header[29]]));
            let name = bytes.get(at + 30..)?.get(..name_bytes)?;
            let content = bytes.get(at + 30 + name_bytes + more_bytes..).unwrap_or_default();
            Some((name, content))
        })
    };
    if let Some((_, content)) = entries().next().filter(|(name, _)| *name == b"mimetype") {
        return Some(open_document(content));
    }
    let by_entry = |(part, what, advice): &(&str, &'static str, Advice)| {
        let mut entries = entries();
        entries
            .any(|(name, _)| name.starts_with(part.as_bytes()))
            .then(|| Kind::new(*what, advice.clone()))
    };
    let kind = ZIP_ENTRIES.iter().find_map(by_entry);
    Some(kind.unwrap_or_else(|| match entries().next() {
        Some((name, _)) => Kind::new(format!("a ZIP archive (of \"{}\")", clip(name)), Extract),
        None => Kind::new("a ZIP archive", Extract),
    }))
}

/// What an archive is whose first entry is its media type.
fn open_document(media_type: &[u8]) -> Kind {
    for (part, what, advice) in [
        (
            &b"application/vnd.oasis.opendocument.spreadsheet"[..],
            "a spreadsheet (ODS)",
            Advice::SaveSheet,
        ),
        (
            b"application/vnd.oasis.opendocument",
            "an OpenDocument file",
            Advice::SaveSheet,
        ),
        (b"application/epub+zip", "an e-book (EPUB)", TakeTheFile),
    ] {
        if media_type.starts_with(part) {
            return Kind::new(what, advice);
        }
    }
    Kind::new("a ZIP archive", Extract)
}

/// A tar archive, by the sum of its first header: old ones have no mark.
fn tar(bytes: &[u8]) -> Option<Kind> {
    const SUM: std::ops::Range<usize> = 148..156;
    let header = bytes.first_chunk::<512>()?;
    let digits = header[SUM].trim_ascii_start();
    let digits = &digits[..digits.iter().position(|byte| !matches!(byte, b'0'..=b'7'))?];
    if digits.is_empty() {
        return None;
    }
    let said = digits
        .iter()
        .fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let sum = (0..).zip(header).map(|(at, &byte)| {
        let byte = if SUM.contains(&at) { b' ' } else { byte };
        u32::from(byte)
    });
    (said == sum.sum::<u32>()).then(|| {
        let name = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        Kind::new(format!("a tar archive (of \"{}\")", clip(name)), Extract)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Option<String> {
        of(bytes).map(|kind| kind.what.into_owned())
    }

    /// The mark at its place, before and behind it bytes as binary files have them.
    fn file(at: usize, mark: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0\0\0\0\0"[..at].to_vec();
        bytes.extend(mark);
        bytes.extend(b"\x02\x08\x15\0\0\0\0\0\0\0");
        bytes
    }

    #[test]
    fn each_mark_is_told() {
        for &(at, mark, what, _) in MARKS.iter().chain(MARKS_OF_LETTERS) {
            let bytes = match mark {
                b"BZh" => file(at, b"BZh91AY&SY"),
                b"BM" => b"BM\x10\0\0\0\0\0\0\0".to_vec(),
                b"\x4d\x3c\x2b\x1a" => b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a".to_vec(),
                _ => file(at, mark),
            };
            assert_eq!(told(&bytes).as_deref(), Some(what), "{mark:x?}");
        }
        assert_eq!(
            told(b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0").as_deref(),
            Some("compressed by bzip2")
        );
    }

    #[test]
    fn letters_alone_are_a_text() {
        for &(at, mark, ..) in MARKS_OF_LETTERS {
            for behind in [&b",name\n1,2\n"[..], b"\n1\n", b"\x01name\n1\x012\n", b""] {
                let mut text = vec![b'R'; at];
                text.extend(mark);
                text.extend(behind);
                assert_eq!(told(&text), None, "{:?}", String::from_utf8_lossy(&text));
            }
        }
        for text in [
            "PK,name\n1,2\n",
            "BZh,name\n1,2\n",
            "BZh9,1AY&SY\n",
            "Rar!,b\n",
            "7z,b\n",
            "070701,b\n070701,2\n",
            "070701\n070702\n",
            "LZIP,b\n",
            "Obj,b\n",
            "CDF,b\n",
            "ID3,b\n",
            "OggS,b\n",
            "a,b\n\0,\u{1}\u{b}\u{1a}\n",
            "\0\n",
        ] {
            assert_eq!(told(text.as_bytes()), None, "{text:?}");
        }
    }

    fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in entries {
            bytes.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0, 0]);
            bytes.extend(name.as_bytes());
            bytes.extend(content.as_bytes());
        }
        bytes
    }

    #[test]
    fn an_archive_is_told_from_a_document() {
        for (entries, what) in [
            (
                &[("orders.csv", "a,b\n")][..],
                "a ZIP archive (of \"orders.csv\")",
            ),
            (
                &[("[Content_Types].xml", "x"), ("xl/workbook.xml", "x")],
                "an Excel workbook (XLSX)",
            ),
            (
                &[("[Content_Types].xml", "x"), ("word/document.xml", "x")],
                "a Word document (DOCX)",
            ),
            (&[("[Content_Types].xml", "x")], "an Office file (XLSX, DOCX)"),
            (
                &[
                    ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
                    ("content.xml", ""),
                ],
                "a spreadsheet (ODS)",
            ),
            (&[("mimetype", "application/epub+zip")], "an e-book (EPUB)"),
            (&[("META-INF/MANIFEST.MF", "")], "a Java archive"),
        ] {
            assert_eq!(told(&zip_of(entries)).as_deref(), Some(what));
        }
        assert_eq!(told(b"PK\x05\x06\0\0").as_deref(), Some("a ZIP archive"));
        assert_eq!(told(b"PK\x03\x04").as_deref(), Some("a ZIP archive"));
    }

    #[test]
    fn a_tar_archive_is_told_by_its_sum() {
        let mut header = [0; 512];
        header[..10].copy_from_slice(b"orders.csv");
        header[100..107].copy_from_slice(b"0000644");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(
            told(&header).as_deref(),
            Some("a tar archive (of \"orders.csv\")")
        );
        header[0] = b'O';
        assert_ne!(
            told(&header).as_deref(),
            Some("a tar archive (of \"Orders.csv\")")
        );
        assert_eq!(told("1,2,3\n".repeat(200).as_bytes()), None);
    }

    #[test]
    fn what_is_binary_without_a_mark_is_told() {
        let bytes: Vec<u8> = (0..200_u8).map(|byte| byte % 8).collect();
        assert!(is_mostly_binary(&bytes));
        for text in ["a,b\n\0,1\n\0,2\n", "a,b\nx\0\0\0\0\0,y\0\0\0\0\0\n"] {
            assert!(!is_mostly_binary(text.repeat(10).as_bytes()), "{text:?}");
        }
    }
}
