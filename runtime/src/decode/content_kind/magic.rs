//! Recognizes a binary format by its mark, which is the magic bytes near the start of a file. A mark alone is no proof,
//! because a text can begin with the same bytes. For example, `PK,name` is a CSV header, and so is `яы` in an encoding
//! with one byte for each letter. Other bytes of the format, around the mark, are the proof.

use memchr::memmem;

use super::archive::{is_cpio, is_zip, tar, zip};
use super::{Advice, Kind};

use Advice::{Convert, Extract, Recompress, TakeTheFile};

/// A mark with its offset, its bytes, the name of the format, the advice, and a check. The check returns whether the
/// bytes around the mark prove the format.
type MagicMark = (usize, &'static [u8], &'static str, Advice, fn(&[u8]) -> bool);

const MARKS: &[MagicMark] = &[
    (
        0,
        b"\x1f\x8b\x08",
        "compressed twice, by gzip",
        Advice::DecompressOnce,
        |bytes| matches!(bytes, [_, _, _, flags, _, _, _, _, 0 | 2 | 4, 0..=13 | 0xff, ..] if flags & 0xe0 == 0),
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "compressed twice, by zstd",
        Advice::DecompressOnce,
        is_zstd,
    ),
    (0, b"\xfd7zXZ\0", "compressed by xz", Recompress, |bytes| {
        // The flags of a stream name the kind of its integrity check. Each entry of this list consists of such flags
        // and their checksum.
        let checks: [&[u8; 6]; 4] = [
            b"\0\0\xff\x12\xd9\x41",
            b"\0\x01\x69\x22\xde\x36",
            b"\0\x04\xe6\xd6\xb4\x46",
            b"\0\x0a\xe1\xfb\x0c\xa1",
        ];
        checks.iter().any(|check| bytes[6..].starts_with(&check[..]))
    }),
    (0, b"BZh", "compressed by bzip2", Recompress, is_bzip2),
    // The check examines the version and the size of the block.
    (
        0,
        b"\x04\x22\x4d\x18",
        "compressed by lz4",
        Recompress,
        |bytes| matches!(bytes.get(4..6), Some([flags, 0x40 | 0x50 | 0x60 | 0x70]) if flags & 0xc2 == 0x40),
    ),
    (0, b"\x02\x21\x4c\x18", "compressed by lz4", Recompress, |bytes| {
        le32(bytes, 4).is_some_and(|size| (2..1 << 24).contains(&size))
    }),
    (
        0,
        b"\xff\x06\0\0sNaPpY",
        "compressed by snappy",
        Recompress,
        by_mark,
    ),
    (
        0,
        b"\x89LZO\0\r\n\x1a\n",
        "compressed by lzop",
        Recompress,
        by_mark,
    ),
    (0, b"\x5d\0\0", "compressed by lzma", Recompress, |bytes| {
        // The check examines the sizes of the text and of the dictionary, and the first byte of the compressed data.
        matches!(
            bytes.get(5..14),
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0] | [.., 0, 0, 0])
        ) && le32(bytes, 1)
            .is_some_and(|size| size.is_power_of_two() || (size % 3 == 0 && (size / 3).is_power_of_two()))
    }),
    (
        0,
        b"\x1f\x9d",
        "compressed by compress (.Z)",
        Recompress,
        |bytes| {
            bytes.get(2).is_some_and(|flags| {
                flags & 0x60 == 0 && (9..=16).contains(&(flags & 0x1f)) && flags & 0x80 != 0
            })
        },
    ),
    (
        0,
        b"\x1f\xa0",
        "compressed by compress (.Z)",
        Recompress,
        unproved,
    ),
    (
        0,
        b"LZIP\x01",
        "compressed by lzip",
        Recompress,
        |bytes| matches!(bytes.get(5..7), Some([size, 0]) if (12..=29).contains(&(size & 0x1f))),
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", Extract, |bytes| {
        // The high bytes of the header's position and size must be zero.
        bytes.get(17..20) == Some(&[0; 3]) && bytes.get(24..28) == Some(&[0; 4])
    }),
    // The mark of the newer version is two bytes longer. In the older version, the header of the archive must follow.
    (0, b"Rar!\x1a\x07", "a RAR archive", Extract, |bytes| {
        bytes[6..].starts_with(&[1, 0])
            || bytes.get(6) == Some(&0) && bytes.get(9) == Some(&0x73) && bytes.get(12..14) == Some(&[13, 0])
    }),
    (0, b"MSCF\0\0\0\0", "a CAB archive", Extract, |bytes| {
        bytes.get(12..16) == Some(&[0; 4]) && bytes.get(24..26) == Some(&[3, 1])
    }),
    // The header of the first file must end with these two bytes.
    (
        0,
        b"!<arch>\n",
        "an ar archive, such as a Debian package",
        Extract,
        |bytes| bytes.get(66..68) == Some(b"`\n"),
    ),
    (0, b"xar!", "a XAR archive", Extract, |bytes| {
        matches!(bytes.get(4..8), Some([0, _, 0, 1]))
    }),
    (0, b"\xed\xab\xee\xdb", "an RPM package", Extract, |bytes| {
        matches!(bytes.get(4..6), Some([3 | 4, 0]))
    }),
    (0, b"SQLite format 3\0", "an SQLite database", Convert, |bytes| {
        let page_bytes = bytes
            .get(16..18)
            .map(|size| u32::from(size[0]) << 8 | u32::from(size[1]));
        page_bytes.is_some_and(|bytes| bytes == 1 || bytes >= 512 && bytes.is_power_of_two())
            && bytes
                .get(21..24)
                .is_none_or(|fractions| fractions == [64, 32, 32])
    }),
    (0, b"ARROW1", "an Arrow file (Feather)", Convert, |bytes| {
        bytes.get(6..8) == Some(&[0; 2])
            && (bytes.get(8..12) == Some(&[0xff; 4]) || bytes.get(11) == Some(&0))
    }),
    (
        0,
        b"\xff\xff\xff\xff",
        "an Arrow stream or other binary data",
        Convert,
        |bytes| bytes.get(7) == Some(&0),
    ),
    (0, b"PAR1", "a Parquet file", Convert, is_parquet),
    (0, b"PARE", "an encrypted Parquet file", Convert, unproved),
    // The check proves only a file without rows: in such a file, the footer follows the mark.
    (0, b"ORC", "an ORC file", Convert, |bytes| {
        bytes.get(3..6) == Some(&[8, 3, 0x10])
    }),
    (0, b"FEA1", "a Feather file", Convert, |bytes| {
        bytes.get(4..8) == Some(&[0; 4]) && bytes.ends_with(b"FEA1")
    }),
    (0, b"Obj\x01", "an Avro file", Convert, |bytes| {
        let start = &bytes[..bytes.len().min(1 << 10)];
        memmem::find(start, b"\x16avro.schema").is_some() || memmem::find(start, b"\x14avro.codec").is_some()
    }),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", Convert, by_mark),
    (0, b"CDF\x01", "a NetCDF file", Convert, is_netcdf),
    (0, b"CDF\x02", "a NetCDF file", Convert, is_netcdf),
    (0, b"\x93NUMPY", "a NumPy array", Convert, |bytes| {
        matches!(bytes.get(6..8), Some([1..=3, 0]))
    }),
    (0, b"\x80\x02", "a Python pickle", Convert, unproved),
    (0, b"\x80\x03", "a Python pickle", Convert, unproved),
    (0, b"\x80\x04", "a Python pickle", Convert, is_framed),
    (0, b"\x80\x05", "a Python pickle", Convert, is_framed),
    (0, b"X\n\0\0\0", "an R data file", Convert, is_r_data),
    (0, b"RDX2\n", "an R data file", Convert, |bytes| {
        is_r_data(&bytes[5..])
    }),
    (0, b"RDX3\n", "an R data file", Convert, |bytes| {
        is_r_data(&bytes[5..])
    }),
    // The check examines the layout code, which follows the name of the program.
    (0, b"$FL2@(#)", "an SPSS file", Convert, is_spss),
    (0, b"$FL3@(#)", "an SPSS file", Convert, is_spss),
    (0, b"<stata_dta>", "a Stata file", Convert, |bytes| {
        bytes[11..].starts_with(b"<header><release>")
    }),
    (
        12,
        b"\xc2\xea\x81\x60\xb3\x14\x11\xcf",
        "a SAS file",
        Convert,
        |bytes| bytes[..12] == [0; 12],
    ),
    (
        0,
        b"\0\x01\0\0Standard Jet DB\0",
        "an Access database",
        Convert,
        by_mark,
    ),
    (
        0,
        b"\0\x01\0\0Standard ACE DB\0",
        "an Access database",
        Convert,
        by_mark,
    ),
    // The mark comes after a checksum of eight bytes. Most bytes after the mark, up to the end of the page, must be
    // zero.
    (8, b"DUCK", "a DuckDB database", Convert, |bytes| {
        bytes.get(13..20) == Some(&[0; 7])
            && bytes
                .get(256..4_096)
                .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    }),
    (0, b"bplist00", "a binary property list", Convert, unproved),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", Convert, |bytes| {
        matches!(bytes.get(124..128), Some([0, 1, b'I', b'M'] | [1, 0, b'M', b'I']))
    }),
    (0, b"REDIS00", "a dump of Redis", Convert, |bytes| {
        bytes
            .get(9..)
            .is_some_and(|rest| rest.starts_with(b"\xfa\x09redis-ver"))
    }),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Office file (XLS, DOC)",
        Advice::SaveSheet,
        by_mark,
    ),
    (
        0,
        b"\x09\x08\x10\0\0\x06\x05\0",
        "an Excel sheet (XLS)",
        Advice::SaveSheet,
        by_mark,
    ),
    (
        0,
        b"\x09\x04\x06\0",
        "an Excel sheet (XLS)",
        Advice::SaveSheet,
        is_old_sheet,
    ),
    (
        0,
        b"\x09\x02\x06\0",
        "an Excel sheet (XLS)",
        Advice::SaveSheet,
        is_old_sheet,
    ),
    (
        0,
        b"\x09\0\x04\0",
        "an Excel sheet (XLS)",
        Advice::SaveSheet,
        is_old_sheet,
    ),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", TakeTheFile, by_mark),
    (0, b"\xff\xd8\xff", "a JPEG image", TakeTheFile, |bytes| {
        matches!(bytes.get(3..5), Some([0xc0..=0xfe, 0])) || bytes.get(6..12) == Some(b"Exif\0\0")
    }),
    (0, b"GIF87a", "a GIF image", TakeTheFile, is_gif),
    (0, b"GIF89a", "a GIF image", TakeTheFile, is_gif),
    (0, b"II*\0", "a TIFF image", TakeTheFile, |bytes| {
        le32(bytes, 4).is_some_and(|at| is_tiff(bytes, at, u16::from_le_bytes))
    }),
    (0, b"MM\0*", "a TIFF image", TakeTheFile, |bytes| {
        be32(bytes, 4).is_some_and(|at| is_tiff(bytes, at, u16::from_be_bytes))
    }),
    // After the size of the file come reserved bytes, the offset of the pixels, and the size of a header.
    (0, b"BM", "a BMP image", TakeTheFile, |bytes| {
        bytes.get(6..10) == Some(&[0; 4])
            && le32(bytes, 10).is_some_and(|at| (26..1 << 16).contains(&at))
            && le32(bytes, 14).is_some_and(|size| (12..=124).contains(&size))
    }),
    (0, b"8BPS\0\x01", "a Photoshop image", TakeTheFile, |bytes| {
        bytes.get(6..13) == Some(&[0; 7])
    }),
    // The first image must follow directly after the list of images.
    (0, b"\0\0\x01\0", "an icon", TakeTheFile, |bytes| {
        match bytes.get(4..6) {
            Some(&[count @ 1..=0xff, 0]) => le32(bytes, 18) == Some(6 + 16 * u32::from(count)),
            _ => false,
        }
    }),
    (
        0,
        b"\0\0\0\x0cjP  \r\n\x87\n",
        "a JPEG 2000 image",
        TakeTheFile,
        by_mark,
    ),
    (0, b"\xff\x0a", "a JPEG XL image", TakeTheFile, unproved),
    (8, b"WEBP", "a WebP image", TakeTheFile, |bytes| {
        is_riff(bytes, &[b"VP8 ", b"VP8L", b"VP8X"])
    }),
    (8, b"WAVE", "a WAV file", TakeTheFile, |bytes| {
        is_riff(bytes, &[b"fmt ", b"JUNK", b"LIST", b"bext"])
    }),
    (8, b"AVI ", "an AVI video", TakeTheFile, |bytes| {
        is_riff(bytes, &[b"LIST", b"JUNK"])
    }),
    (0, b"OggS\0", "an Ogg file", TakeTheFile, |bytes| {
        bytes.get(5..14) == Some(&[2, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    (0, b"fLaC", "a FLAC file", TakeTheFile, |bytes| {
        matches!(bytes.get(4..8), Some([0 | 0x80, 0, 0, 0x22]))
    }),
    (0, b"ID3\x02\0", "an MP3 file", TakeTheFile, is_id3),
    (0, b"ID3\x03\0", "an MP3 file", TakeTheFile, is_id3),
    (0, b"ID3\x04\0", "an MP3 file", TakeTheFile, is_id3),
    (0, b"\xff\xfb", "an MP3 file", TakeTheFile, unproved),
    // The size of the first box is before the mark.
    (
        4,
        b"ftyp",
        "a video or image (MP4, HEIC, AVIF)",
        TakeTheFile,
        |bytes| be32(bytes, 0).is_some_and(|size| (16..256).contains(&size) && size % 4 == 0),
    ),
    (
        0,
        b"\x1a\x45\xdf\xa3",
        "a Matroska or WebM video",
        TakeTheFile,
        |bytes| {
            let start = &bytes[..bytes.len().min(64)];
            memmem::find(start, b"matroska").is_some() || memmem::find(start, b"webm").is_some()
        },
    ),
    // In the old version, the next part must begin at byte 12. In the new version, it must begin after some stuffing
    // bytes.
    (0, b"\0\0\x01\xba", "an MPEG video", TakeTheFile, |bytes| {
        let next = bytes.get(13).map(|filled| 14 + usize::from(filled & 7));
        [Some(12), next]
            .into_iter()
            .flatten()
            .any(|at| bytes.get(at..at + 3) == Some(&[0, 0, 1]))
    }),
    (0, b"\x7fELF", "a program (ELF)", TakeTheFile, |bytes| {
        matches!(bytes.get(4..7), Some([1 | 2, 1 | 2, 1]))
    }),
    // The header at the start has the offset of a second header, which begins with `PE`.
    (0, b"MZ", "a Windows program", TakeTheFile, |bytes| {
        let header = le32(bytes, 60).and_then(|at| bytes.get(at as usize..));
        header.is_some_and(|header| header.starts_with(b"PE\0\0"))
    }),
    (
        0,
        b"\xca\xfe\xba\xbe",
        "a program (Java class or Mach-O)",
        TakeTheFile,
        |bytes| bytes.get(4..7) == Some(&[0; 3]),
    ),
    (
        0,
        b"\xcf\xfa\xed\xfe",
        "a program (Mach-O)",
        TakeTheFile,
        |bytes| bytes.get(5..8) == Some(&[0, 0, 1]),
    ),
    (0, b"\0asm", "a WebAssembly module", TakeTheFile, |bytes| {
        matches!(bytes.get(4..8), Some([1..=0xff, 0, _, 0]))
    }),
    // After the number of tables comes 16 times the largest power of two that is not above this number.
    (0, b"\0\x01\0\0\0", "a font", TakeTheFile, |bytes| {
        match bytes.get(5..8) {
            Some(&[tables @ 1..=0xff, high, low]) => {
                u32::from(high) << 8 | u32::from(low) == 16 << tables.ilog2()
            }
            _ => false,
        }
    }),
    (0, b"wOFF", "a font", TakeTheFile, is_woff),
    (0, b"wOF2", "a font", TakeTheFile, is_woff),
    (0, b"\xd4\xc3\xb2\xa1", "a packet capture", Convert, |bytes| {
        bytes.get(4..8) == Some(&[2, 0, 4, 0])
    }),
    (0, b"\xa1\xb2\xc3\xd4", "a packet capture", Convert, |bytes| {
        bytes.get(4..8) == Some(&[0, 2, 0, 4])
    }),
    (8, b"\x4d\x3c\x2b\x1a", "a packet capture", Convert, |bytes| {
        bytes.starts_with(b"\n\r\r\n") && bytes[7] == 0 && bytes.get(12..16) == Some(&[1, 0, 0, 0])
    }),
    (0, b"\0\0\x27\x0a\0\0\0\0", "a shapefile", Convert, |bytes| {
        bytes.get(8..24) == Some(&[0; 16]) && bytes.get(28..32) == Some(&[0xe8, 3, 0, 0])
    }),
    (0, b"\0\0\0\x01Bud1", "a .DS_Store file", TakeTheFile, by_mark),
    (
        0,
        b"\0\x05\x16\x07",
        "an AppleDouble file",
        TakeTheFile,
        |bytes| bytes.get(4..8) == Some(&[0, 2, 0, 0]),
    ),
    (
        0,
        b"L\0\0\0\x01\x14\x02\0",
        "a Windows shortcut",
        TakeTheFile,
        by_mark,
    ),
    (0, b"Salted__", "encrypted by OpenSSL", Advice::Decrypt, unproved),
    (0, b"d8:announce", "a torrent file", TakeTheFile, |bytes| {
        memmem::find(bytes, b"4:infod").is_some()
    }),
];

/// Returns true, because the mark alone proves the format: the mark is long and has several bytes that no text has.
fn by_mark(_: &[u8]) -> bool {
    true
}

/// Returns false, because this format has no other bytes at a fixed offset that could prove it.
fn unproved(_: &[u8]) -> bool {
    false
}

/// Returns the kind of a file with these first bytes, or `None`. `is_utf8` is true if a text must be in UTF-8.
/// `is_named` is true if the request names the format. In this case, a guess does not count.
pub(super) fn of(bytes: &[u8], is_utf8: bool, is_named: bool) -> Option<Kind> {
    let has_binary = has_binary(bytes);
    // As a text, such a file would be refused anyway, because its header is not UTF-8.
    let is_no_text = is_utf8 && has_binary && !begins_in_utf8(bytes);
    let has_more_than_nul = has_binary && start(bytes).iter().any(|&byte| byte != 0 && is_control(byte));
    let is_guess = has_binary && !is_named;
    let kind = |is_proved: bool, is_guess: bool, what: &dyn Fn() -> Kind| match is_proved || is_no_text {
        true => Some(what()),
        false => is_guess.then(|| what().guessed()),
    };
    if let [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] = bytes {
        return kind(is_zip(bytes), is_guess, &|| zip(bytes));
    }
    if let Some(tar) = tar(bytes) {
        return Some(tar);
    }
    // Comparing the first byte alone is faster than a call that compares the whole mark.
    let has = |(at, mark, ..): &&MagicMark| bytes.get(*at) == mark.first() && bytes[*at..].starts_with(mark);
    let found = |(at, mark, what, advice, is_proved): &MagicMark| {
        // A mark of up to four letters can be the start of a field that is padded with NUL. So the mark and NULs are
        // not enough for a guess. A mark at offset 8 or later is not enough either, unless the file begins with `RIFF`.
        let is_word = mark.len() <= 4 && mark.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let is_odd = !is_word || has_more_than_nul;
        let is_at_start = *at < 8 || bytes.starts_with(b"RIFF");
        kind(is_proved(bytes), is_guess && is_odd && is_at_start, &|| {
            Kind::new(*what, advice.clone())
        })
    };
    MARKS.iter().filter(has).find_map(found).or_else(|| {
        let is_old = is_no_text && bytes.starts_with(b"\xc7\x71");
        (is_old || is_cpio(bytes)).then(|| Kind::new("a cpio archive", Extract))
    })
}

/// Returns whether the first line is UTF-8. If the line is longer than the examined bytes, only its beginning counts.
fn begins_in_utf8(bytes: &[u8]) -> bool {
    let start = start(bytes);
    let line = memchr::memchr2(b'\n', b'\r', start).map_or(start, |end| &start[..end]);
    match std::str::from_utf8(line) {
        Ok(_) => true,
        // The line is cut off within a character.
        Err(error) => error.error_len().is_none() && line.len() == start.len(),
    }
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns whether a frame of zstd has no dictionary and a valid first block. The last byte of the block's size must be
/// a byte that no text has.
fn is_zstd(bytes: &[u8]) -> bool {
    let Some(&flags) = bytes.get(4) else {
        return false;
    };
    let is_single = flags & 0x20 != 0;
    let size_bytes = [usize::from(is_single), 2, 4, 8][usize::from(flags >> 6)];
    let block = 5 + usize::from(!is_single) + size_bytes;
    let Some(&[low, _, high]) = bytes.get(block..block + 3) else {
        return false;
    };
    flags & 0x1b == 0 && (low >> 1) & 3 != 3 && high <= 0x10 && is_control(high)
}

/// Returns whether the bytes after the mark of bzip2 are valid. They are the size of a block, the digits of pi, a
/// checksum, and the number of a row that is within the block. An empty file instead has the digits of the square root
/// of pi and a checksum of zero.
fn is_bzip2(bytes: &[u8]) -> bool {
    match bytes {
        [
            _,
            _,
            _,
            b'1'..=b'9',
            b'1',
            b'A',
            b'Y',
            b'&',
            b'S',
            b'Y',
            _,
            _,
            _,
            _,
            row,
            ..,
        ] => *row <= 6,
        [_, _, _, b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, sum @ ..] => sum.starts_with(&[0; 4]),
        _ => false,
    }
}

/// Returns whether a known list follows the number of records in a NetCDF file.
fn is_netcdf(bytes: &[u8]) -> bool {
    matches!(bytes.get(8..12), Some([0, 0, 0, 0 | 10..=12]))
}

/// Returns whether a pickle begins with a frame that is shorter than 2^40 bytes.
fn is_framed(bytes: &[u8]) -> bool {
    bytes.get(2) == Some(&0x95) && bytes.get(8..11) == Some(&[0; 3])
}

/// Returns whether a Parquet file begins with the first page or the footer, or ends with the size of the footer.
fn is_parquet(bytes: &[u8]) -> bool {
    let end = bytes.len() - 4;
    let footer_bytes = end.checked_sub(4).and_then(|at| le32(bytes, at));
    matches!(bytes.get(4..7), Some([0x15, 0 | 2 | 4 | 6, 0x15 | 0x19]))
        || bytes[4..].ends_with(b"PAR1")
            && footer_bytes.is_some_and(|size| (1..end).contains(&(size as usize)))
}

/// Returns whether R data is in the binary format, in a known version.
fn is_r_data(bytes: &[u8]) -> bool {
    matches!(bytes, [b'X', b'\n', 0, 0, 0, 2 | 3, 0, ..])
}

fn is_spss(bytes: &[u8]) -> bool {
    matches!(bytes.get(64..68), Some([2 | 3, 0, 0, 0] | [0, 0, 0, 2 | 3]))
}

/// Returns whether an old Excel file names a known kind of sheet.
fn is_old_sheet(bytes: &[u8]) -> bool {
    matches!(bytes.get(6..8), Some([0x10 | 0x20 | 0x40, 0] | [0, 1]))
}

/// Returns whether a GIF has a valid size, and a known block after its colors. The high byte of the width or of the
/// height must be a byte that no text has.
fn is_gif(bytes: &[u8]) -> bool {
    let Some(&[_, width, _, height]) = bytes.get(6..10) else {
        return false;
    };
    let is_size = width <= 8 && height <= 8 && (is_control(width) || is_control(height));
    let colors = |flags: u8| if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) };
    let next = bytes.get(10).map_or(usize::MAX, |&flags| 13 + colors(flags));
    is_size && bytes.get(next).is_none_or(|next| matches!(next, b'!' | b','))
}

/// Returns whether a TIFF has a directory at the offset `at`, with a plausible number of entries and a known type of
/// the first entry.
fn is_tiff(bytes: &[u8], at: u32, number: fn([u8; 2]) -> u16) -> bool {
    let list = bytes.get(at as usize..).and_then(|list| list.first_chunk());
    list.is_some_and(|&[a, b, _, _, c, d]| {
        (1..=512).contains(&number([a, b])) && (1..=18).contains(&number([c, d]))
    })
}

/// Returns whether a RIFF file begins with one of these chunks, and the chunk is shorter than 16 MiB.
fn is_riff(bytes: &[u8], chunks: &[&[u8; 4]]) -> bool {
    let is_first = |chunk: &&[u8; 4]| bytes.get(12..16) == Some(&chunk[..]);
    bytes.starts_with(b"RIFF") && chunks.iter().any(is_first) && bytes.get(19) == Some(&0)
}

/// Returns whether an ID3 tag has valid flags, a size that uses seven bits of each byte, and a valid name of its first
/// frame.
fn is_id3(bytes: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        name.iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    bytes.get(5).is_some_and(|flags| flags & 0x0f == 0)
        && bytes
            .get(6..10)
            .is_some_and(|size| size.is_ascii() && has_binary(size))
        && bytes.get(10..13).is_some_and(is_name)
}

/// Returns whether a WOFF file is shorter than 16 MiB, has fewer than 256 tables, and has zeros in its reserved bytes.
fn is_woff(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&0) && bytes.get(12) == Some(&0) && bytes.get(14..16) == Some(&[0; 2])
}

/// Returns whether a byte is a control character. White space and the characters that some texts use between fields and
/// records do not count.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0 | 2..=8 | 0x0e..=0x19)
}

/// Returns the part of an input that is examined, at most 1 KiB.
fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(1 << 10)]
}

/// Returns whether the examined part has bytes that no text has.
fn has_binary(bytes: &[u8]) -> bool {
    start(bytes).iter().copied().any(is_control)
}

/// The maximum number of different control characters in a usual text. Its fields can be padded with one of these
/// characters, and a few others can be left over from a binary file.
pub(super) const DIFFERENT_CONTROLS_MAX: usize = 3;

/// Returns the number of different control characters.
pub(super) fn different_controls(bytes: &[u8]) -> usize {
    let controls = (0..=0x19).filter(|&byte| is_control(byte));
    controls.filter(|control| bytes.contains(control)).count()
}

/// Returns whether at least a third of the first 512 bytes are control characters, with more than
/// [`DIFFERENT_CONTROLS_MAX`] different ones among them.
pub(super) fn is_mostly_binary(bytes: &[u8]) -> bool {
    const LEAST_BYTES: usize = 32;
    let start = &bytes[..bytes.len().min(512)];
    let controls = start.iter().filter(|&&byte| is_control(byte)).count();
    start.len() >= LEAST_BYTES
        && 3 * controls >= start.len()
        && different_controls(start) > DIFFERENT_CONTROLS_MAX
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::decode::content_kind) fn kind_of(bytes: &[u8]) -> Option<String> {
        of(bytes, true, false).map(|kind| kind.what.into_owned())
    }

    /// Returns the kind that these bytes prove, or `None`. The request cannot overrule such a kind.
    pub(in crate::decode::content_kind) fn proved(bytes: &[u8]) -> Option<String> {
        let kinds = [(true, true), (false, true)].map(|(is_utf8, is_named)| of(bytes, is_utf8, is_named));
        let [Some(kind), other] = kinds else { return None };
        assert!(
            !kind.is_guess && other == Some(kind.clone()),
            "{kind:?} {other:?}"
        );
        Some(kind.what.into_owned())
    }

    /// Returns a file that begins with `before` and `mark`, and that has the bytes in `after` at the offsets given
    /// there.
    fn file(before: &[u8], mark: &[u8], after: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = [before, mark].concat();
        for (at, part) in after {
            bytes.resize(bytes.len().max(at + part.len()), 0);
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    /// Returns the beginning of a file as tools write it. `number` is the index of its mark.
    fn written(number: usize) -> Vec<u8> {
        let (at, mark, what, ..) = &MARKS[number];
        let with = |after: &[(usize, &[u8])]| file(&[0; 12][..*at], mark, after);
        let riff = |chunk: &[u8]| {
            file(
                b"RIFF\x24\x10\0\0",
                mark,
                &[(12, chunk), (16, b"\x10\0\0\0\x01\0")],
            )
        };
        match *mark {
            b"\x1f\x8b\x08" => with(&[(3, b"\x08\x5c\xa1\x2b\x66\0\x03a.csv\0")]),
            b"\x28\xb5\x2f\xfd" => with(&[(4, b"\x24\x08\x41\0\0a,b\n1,2\n\x0e\xd9\x79\x98")]),
            b"\xfd7zXZ\0" => with(&[(6, b"\0\x04\xe6\xd6\xb4F\x02\0!\x01")]),
            b"BZh" => with(&[(3, b"91AY&SY\xbf\x87@\x7f\0\0\x03Y")]),
            b"\x04\x22\x4d\x18" => with(&[(4, b"d@\xa7\x08\0\0\x80")]),
            b"\x02\x21\x4c\x18" => with(&[(4, b"\x0a\0\0\0\x80a,b\n1,2\n")]),
            b"\x5d\0\0" => with(&[(3, b"\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x30")]),
            b"\x1f\x9d" => with(&[(2, b"\x90\x61\x58\x88\x11\x63\xb1")]),
            b"LZIP\x01" => with(&[(5, b"\x0c\0\x30\x8b")]),
            b"7z\xbc\xaf\x27\x1c" => with(&[
                (6, b"\0\x04\x8d\x9b\xd5\x0f\x5a"),
                (20, b"\x14"),
                (28, b"\x3a\x10\x5c\x21"),
            ]),
            b"Rar!\x1a\x07" => with(&[(6, b"\x01\0")]),
            b"MSCF\0\0\0\0" => with(&[(8, b"\x50\x01"), (24, b"\x03\x01\x01\0")]),
            b"!<arch>\n" => with(&[(
                8,
                b"debian-binary   1700000000  0     0     100644  4         `\n2.0\n",
            )]),
            b"xar!" => with(&[(4, b"\0\x1c\0\x01\0\0\0\0")]),
            b"\xed\xab\xee\xdb" => with(&[(4, b"\x03\0\0\0")]),
            b"SQLite format 3\0" => with(&[(16, b"\x10\0\x01\x01\0\x40\x20\x20")]),
            b"ARROW1" => with(&[(8, b"\xff\xff\xff\xff\x78")]),
            b"\xff\xff\xff\xff" => with(&[(4, b"\x78\0\0\0")]),
            b"PAR1" => with(&[(4, b"\x15\x04\x15\x10\x15\x14")]),
            b"ORC" => with(&[(3, b"\x08\x03\x10\x03")]),
            b"FEA1" => with(&[(8, b"\x0c\0\0\0"), (20, b"FEA1")]),
            b"Obj\x01" => with(&[(4, b"\x04\x16avro.schema\x10")]),
            b"CDF\x01" | b"CDF\x02" => with(&[(8, b"\0\0\0\x0a\0\0\0\x01")]),
            b"\x93NUMPY" => with(&[(6, b"\x01\0\x76\0{'descr'")]),
            b"\x80\x04" | b"\x80\x05" => with(&[(2, b"\x95\x10\x01"), (10, b"\0}")]),
            b"X\n\0\0\0" => with(&[(5, b"\x03\0\x04\x03\x01")]),
            b"RDX2\n" | b"RDX3\n" => with(&[(5, b"X\n\0\0\0\x03\0\x04\x03\x01")]),
            b"$FL2@(#)" | b"$FL3@(#)" => with(&[(8, b" SPSS DATA FILE"), (64, b"\x02\0\0\0")]),
            b"<stata_dta>" => with(&[(11, b"<header><release>118</release>\0")]),
            b"DUCK" => with(&[
                (0, b"\x81\x17\x6f\x2c\x31\x42\x51\x62"),
                (12, b"\x40"),
                (4_095, b"\0"),
            ]),
            b"MATLAB 5.0 MAT-file" => with(&[(19, &[b' '; 105]), (124, b"\0\x01IM")]),
            b"REDIS00" => with(&[(7, b"11\xfa\x09redis-ver\x057.2.4")]),
            b"\x09\x04\x06\0" | b"\x09\x02\x06\0" | b"\x09\0\x04\0" => with(&[(5, b"\x04\x10\0")]),
            b"\x89PNG\r\n\x1a\n" => with(&[(11, b"\x0dIHDR")]),
            b"\xff\xd8\xff" => with(&[(3, b"\xe0\0\x10JFIF\0")]),
            b"GIF87a" | b"GIF89a" => with(&[(6, b"\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff,")]),
            b"II*\0" => with(&[(4, b"\x08\0\0\0\x0e\0\0\x01\x03\0\x01")]),
            b"MM\0*" => with(&[(4, b"\0\0\0\x08\0\x0e\x01\0\0\x03\0\0\0\x01")]),
            b"BM" => with(&[(2, b"\x46\0\0\0"), (10, b"\x36\0\0\0\x28\0\0\0")]),
            b"8BPS\0\x01" => with(&[(12, b"\0\x03")]),
            b"\0\0\x01\0" => with(&[(4, b"\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0")]),
            b"WEBP" => riff(b"VP8 "),
            b"WAVE" => riff(b"fmt "),
            b"AVI " => riff(b"LIST"),
            b"OggS\0" => with(&[(5, b"\x02"), (14, b"\x51\x62\x73\x14")]),
            b"fLaC" => with(&[(7, b"\x22\x10\0\x10\0")]),
            b"ID3\x02\0" | b"ID3\x03\0" | b"ID3\x04\0" => with(&[(8, b"\x02\x01TT2\0")]),
            b"ftyp" => with(&[(0, b"\0\0\0\x18"), (8, b"isom\0\0\x02\0")]),
            b"\x1a\x45\xdf\xa3" => with(&[(4, b"\xa3\x42\x86\x81\x01\x42\x82\x88matroska")]),
            b"\0\0\x01\xba" => with(&[(4, b"\x44\0\x04\0\x04\x01\x01\x89\xc3\xf8\0\0\x01\xbb")]),
            b"\x7fELF" => with(&[(4, b"\x02\x01\x01\0")]),
            b"MZ" => with(&[(2, b"\x90\0\x03"), (60, b"\x80\0\0\0"), (128, b"PE\0\0")]),
            b"\xca\xfe\xba\xbe" => with(&[(4, b"\0\0\0\x34")]),
            b"\xcf\xfa\xed\xfe" => with(&[(4, b"\x07\0\0\x01")]),
            b"\0asm" => with(&[(4, b"\x01\0\0\0")]),
            b"\0\x01\0\0\0" => with(&[(5, b"\x0e\0\x80\0\x03")]),
            b"wOFF" | b"wOF2" => with(&[(4, b"\0\x01\0\0\0\x01\x10\x20\0\x0e\0\0")]),
            b"\xd4\xc3\xb2\xa1" => with(&[(4, b"\x02\0\x04\0")]),
            b"\xa1\xb2\xc3\xd4" => with(&[(4, b"\0\x02\0\x04")]),
            b"\x4d\x3c\x2b\x1a" => with(&[(0, b"\n\r\r\n\x1c\0\0\0"), (12, b"\x01\0\0\0")]),
            b"\0\0\x27\x0a\0\0\0\0" => with(&[(24, b"\0\0\0\x32\xe8\x03\0\0")]),
            b"\0\x05\x16\x07" => with(&[(4, b"\0\x02\0\0")]),
            b"d8:announce" => with(&[(11, b"3:url4:infod6:lengthi8e6:pieces20:\0\x01")]),
            _ => {
                let is_unproved = !MARKS[number].4(&with(&[]));
                let after: &[u8] = if is_unproved {
                    b"\xd5\x08\x15\xff\0\xd6\n"
                } else {
                    b"\x08\x15\0"
                };
                assert!(*at == 0 || *what == "a SAS file");
                [&[0; 12][..*at], mark, after].concat()
            }
        }
    }

    #[test]
    fn each_mark_is_recognized() {
        for (number, &(_, mark, what, _, is_proved)) in MARKS.iter().enumerate() {
            let bytes = written(number);
            assert_eq!(kind_of(&bytes).as_deref(), Some(what), "{mark:x?}");
            if is_proved(&bytes) {
                assert_eq!(proved(&bytes).as_deref(), Some(what), "{mark:x?}");
            } else {
                assert!(of(&bytes, false, true).is_none(), "{mark:x?} may be letters");
            }
        }
        assert_eq!(
            proved(b"PAR1\x0e\n\x02\x15\x02\0\0\0PAR1").as_deref(),
            Some("a Parquet file")
        );
        assert_eq!(
            kind_of(b"\x80\x04]\x94(X\x05\0").as_deref(),
            Some("a Python pickle")
        );
        assert_eq!(
            proved(b"BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0").as_deref(),
            Some("compressed by bzip2")
        );
    }

    #[test]
    fn a_mark_is_no_proof() {
        // The fields are padded with a control character or separated by one, or have one left over from a binary file.
        let texts: [&[u8]; 8] = [
            b",name\n1,2\n",
            b"\n1\n",
            b"\x01name\n1\x012\n",
            b"",
            b"\0\0,name\0\0\n1\0,2\0\n",
            b"\x0e,b\n1,2\n",
            b"\n\x02\x03,1\n\x04,2\n",
            b",b\n\x08\x15\x02,\0\0\0\0\0\0\0\n",
        ];
        let mut number_of_words = 0;
        for &(at, mark, _, _, is_proved) in MARKS {
            let proves = [by_mark as fn(&[u8]) -> bool].contains(&is_proved);
            if proves {
                assert!(
                    mark.len() >= 8 && has_binary(mark) || mark.starts_with(b"\x89"),
                    "{mark:x?}"
                );
                continue;
            }
            for after in texts {
                let mut text = vec![b'R'; at];
                text.extend(mark);
                text.extend(after);
                assert_eq!(
                    of(&text, false, true),
                    None,
                    "{:?}",
                    text.escape_ascii().to_string()
                );
                if std::str::from_utf8(&text).is_ok() {
                    assert_eq!(
                        of(&text, true, true),
                        None,
                        "{:?}",
                        text.escape_ascii().to_string()
                    );
                }
                let is_filled = after.iter().all(|&byte| byte == 0 || !is_control(byte));
                let is_word = mark.len() <= 4 && is_filled || at == 8;
                if mark.iter().all(u8::is_ascii_graphic) && (is_word || !has_binary(after)) {
                    number_of_words += 1;
                    assert_eq!(kind_of(&text), None, "{:?}", text.escape_ascii().to_string());
                }
            }
        }
        assert!(number_of_words > 100);
        for text in [
            "PK,name\n1,2\n",
            "PK\u{3}\u{4},b\n1,2\n",
            "BZh,name\n1,2\n",
            "BZh91AY&SY,b\n1,2\n\0\n",
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
            "BM,b\0\n1\0,2\0\n",
            "a,b,c,d,DUCK@\0\0\0\0\0\0\0,\u{2}\u{3}\n",
            "a,b\n\0,\u{1}\u{b}\u{1a}\n",
            "\n\r\r\n\0\0\n",
            "\0\n",
            &format!("070701{}\n", "0123456789abcdef".repeat(8)),
        ] {
            assert_eq!(of(text.as_bytes(), true, true), None, "{text:?}");
        }
        // In Windows-1251, these texts begin with яы, яШя or я.
        for text in [
            &b"\xff\xfb,b\n1,2\n"[..],
            b"\xff\xd8\xff,b\n1,2\n",
            b"\xff\n1\n",
            b"\xff\xfb,\0\n1,2\n",
        ] {
            assert_eq!(
                of(text, false, true),
                None,
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
        assert_eq!(kind_of(b"\xff\n1\n"), None, "the error is about the encoding");
        assert!(of(b"\xff\xfb,\0\n1,2\n", false, false).is_some_and(|kind| kind.is_guess));
    }

    #[test]
    fn binary_data_without_a_mark_is_recognized() {
        let bytes: Vec<u8> = (0..200_u8).map(|byte| byte % 8).collect();
        assert!(is_mostly_binary(&bytes));
        for text in ["a,b\n\0,1\n\0,2\n", "a,b\nx\0\0\0\0\0,y\0\0\0\0\0\n"] {
            assert!(!is_mostly_binary(text.repeat(10).as_bytes()), "{text:?}");
        }
    }
}
