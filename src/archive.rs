//! Zip archives in memory. The unpacked size is limited: a small archive may claim to hold any amount of data.

use std::io::Read;

use rawzip::{CompressionMethod, ZipArchive};

/// A result whose error says what is wrong, without naming the file.
type Result<T> = std::result::Result<T, String>;

/// The unpacked size that every archive may have, in bytes.
const ALWAYS_ALLOWED: u64 = 1 << 28;

/// The largest compression ratio of an archive that is larger when unpacked.
const LARGEST_RATIO: u64 = 100;

/// Whether bytes begin like a zip archive with a file.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// The files of an archive in their order: name and contents.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let damaged = |error: rawzip::Error| format!("the zip archive is cut short or damaged: {error}");
    let mut left = ALWAYS_ALLOWED.max((bytes.len() as u64).saturating_mul(LARGEST_RATIO));
    let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
    let mut entries = archive.entries();
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(damaged)? {
        if entry.is_dir() {
            continue;
        }
        let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
        let packed = archive.get_entry(entry.wayfinder()).map_err(damaged)?;
        let reader: Box<dyn Read> = match entry.compression_method() {
            CompressionMethod::STORE => Box::new(packed.data()),
            CompressionMethod::DEFLATE => Box::new(flate2::read::DeflateDecoder::new(packed.data())),
            other => {
                return Err(format!(
                    "{name:?} in the zip archive: expected a file that is stored or deflated, got {other:?}"
                ));
            }
        };
        let mut contents = Vec::new();
        let read = packed.verifying_reader(reader).take(left + 1).read_to_end(&mut contents);
        let read = read.map_err(|error| format!("{name:?} in the zip archive: cut short or damaged: {error}"))?;
        left = left.checked_sub(read as u64).ok_or_else(|| {
            format!("the zip archive unpacks to more than {LARGEST_RATIO} times its own size: unpack it first")
        })?;
        files.push((name, contents));
    }
    Ok(files)
}

/// The length of the longest name of a file that is written, in bytes.
#[cfg(feature = "numpy")]
const LONGEST_NAME: usize = 1024;

/// The most files that are written: more need another format of archives.
#[cfg(feature = "numpy")]
const MOST_FILES: usize = u16::MAX as usize;

/// An archive of these files, uncompressed. The same files give the same bytes.
///
/// # Errors
/// A name of more than 1024 bytes, or more than 65,535 files.
#[cfg(feature = "numpy")]
pub(crate) fn pack(files: impl ExactSizeIterator<Item = (String, Vec<u8>)>) -> Result<Vec<u8>> {
    use std::io::Write;
    if files.len() > MOST_FILES {
        return Err(format!("a zip archive of {} files; expected at most {MOST_FILES}", files.len()));
    }
    let failed = |error: rawzip::Error| format!("the zip archive cannot be written: {error}");
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, contents) in files {
        if name.len() > LONGEST_NAME {
            let start: String = name.chars().take(40).collect();
            return Err(format!("the name {start:?}... has {} bytes; expected at most {LONGEST_NAME}", name.len()));
        }
        let (mut entry, config) = archive.new_file(&name).start().map_err(failed)?;
        let mut writer = config.wrap(&mut entry);
        writer.write_all(&contents).map_err(|error| failed(error.into()))?;
        let (_, descriptor) = writer.finish().map_err(failed)?;
        entry.finish(descriptor).map_err(failed)?;
    }
    archive.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[cfg(feature = "numpy")]
    #[test]
    fn names_and_numbers_of_files_are_limited() {
        let named = |length: usize| pack(std::iter::once(("n".repeat(length), vec![1])));
        assert_eq!(unpack(&named(1024).unwrap()).unwrap()[0].1, [1]);
        assert!(named(1025).unwrap_err().contains("1025 bytes; expected at most 1024"));
        let many = vec![(String::new(), vec![]); MOST_FILES + 1];
        assert!(pack(many.into_iter()).unwrap_err().contains("65536 files; expected at most 65535"));
    }

    #[test]
    fn a_small_archive_cannot_unpack_to_any_size() {
        let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
        let (mut entry, config) =
            archive.new_file("zeros").compression_method(CompressionMethod::DEFLATE).start().unwrap();
        let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut writer = config.wrap(encoder);
        let block = vec![0; 1 << 20];
        (0..=ALWAYS_ALLOWED >> 20).for_each(|_| writer.write_all(&block).unwrap());
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
        let bytes = archive.finish().unwrap();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let error = unpack(&bytes).unwrap_err();
        assert_eq!(error, "the zip archive unpacks to more than 100 times its own size: unpack it first");
    }
}
