//! Recognises files that are not safetensors by their first bytes, and says how to convert them.

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

use super::containers;

const TORCH: &str = "Convert it in Python: import torch, safetensors.torch; \
    safetensors.torch.save_file(torch.load(\"FILE\", weights_only=True), \"weights.safetensors\"), where FILE holds a \
    state_dict; then load it with Model::load_weights";
const KERAS: &str = "Read it with Model::from_keras, or its weights with Model::load_weights (feature keras). Or convert it in Python: import keras, safetensors.numpy; model = keras.models.load_model(\"FILE\"); \
    safetensors.numpy.save_file({w.path: w.numpy() for w in model.weights}, \"weights.safetensors\"); then load it \
    with Model::load_weights";
const SAVED_MODEL: &str = "Convert it in Python: import keras, safetensors.numpy; model = keras.models.load_model(\"FILE\"); \
    safetensors.numpy.save_file({w.path: w.numpy() for w in model.weights}, \"weights.safetensors\"); then load it \
    with Model::load_weights";
const NUMPY: &str = "Load its weights with Model::load_weights (feature numpy). Or convert it in Python: import numpy, safetensors.numpy; \
    safetensors.numpy.save_file(dict(numpy.load(\"FILE\")), \"weights.safetensors\"); then load it with \
    Model::load_weights";
const ONNX: &str = "Read it with Model::from_onnx (feature onnx). Or convert its weights in Python: import onnx, \
    onnx.numpy_helper, safetensors.numpy; safetensors.numpy.save_file({t.name: onnx.numpy_helper.to_array(t) for t in \
    onnx.load(\"FILE\").graph.initializer}, \"weights.safetensors\"); then load it with Model::load_weights";
const EXPORT: &str =
    "Export its weights as safetensors from the program that made it, and load them with Model::load_weights";
const UNPACK: &str = "Unpack it first";
const DOWNLOAD: &str = "The download may have been cut off or redirected: download the file again";
const WRONG: &str = "Give a file written by Model::save, Trainer::save or Model::save_weights, or a safetensors file \
                     of another program";

/// First bytes that identify a file format: its name, and what to do.
const SIGNATURES: [(&[u8], &str, &str); 23] = [
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes (.h5)", KERAS),
    (
        b"\x93NUMPY",
        "a NumPy array (.npy): one tensor without a name",
        "Convert it in Python: import numpy, safetensors.numpy; safetensors.numpy.save_file({\"0.weight\": \
        numpy.load(\"FILE\")}, \"weights.safetensors\"), with all tensors of the network in the one file; then load it \
        with Model::load_weights",
    ),
    (b"GGUF", "a GGUF file, such as llama.cpp reads", EXPORT),
    (b"PK\x05\x06", "an empty zip archive", DOWNLOAD),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "Unpack it first: unzstd FILE"),
    (b"\xfd7zXZ\0", "compressed with xz", "Unpack it first: unxz FILE"),
    (b"BZh", "compressed with bzip2", "Unpack it first: bunzip2 FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x89PNG", "a picture (PNG)", WRONG),
    (b"\xff\xd8\xff", "a picture (JPEG)", WRONG),
    (b"GIF8", "a picture (GIF)", WRONG),
    (b"%PDF", "a PDF document", WRONG),
    (b"RIFF", "a RIFF file (WAV, AVI or WebP)", WRONG),
    (b"\x7fELF", "a program (ELF)", WRONG),
    (b"SQLite format 3", "an SQLite database", WRONG),
    (b"\0\0\x08\x01", "a file of labels (IDX, as MNIST's)", "Read data sets with wgrad::mnist::Mnist::read"),
    (b"\0\0\x08\x03", "a file of images (IDX, as MNIST's)", "Read data sets with wgrad::mnist::Mnist::read"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull"),
    (b"wgrad's compiled kernels", "wgrad's cache of compiled kernels (Gpu::cache_pipelines)", WRONG),
    (b"\xef\xbb\xbf", "text (UTF-8 with a byte order mark)", WRONG),
    (b"\xff\xfe", "text (UTF-16)", WRONG),
];

/// The format of a file that begins with `bytes`, and what to do. `None` if it may be safetensors or is unknown.
pub(super) fn recognise(bytes: &[u8]) -> Option<String> {
    // A safetensors file has the length of its header, then the header as JSON.
    if bytes.get(8) == Some(&b'{') && bytes[4..8] == [0; 4] {
        return None;
    }
    if containers::is_read(bytes) {
        return None;
    }
    let (kind, advice) = kind(bytes)?;
    Some(format!("not a safetensors file: it is {kind}. {advice}"))
}

fn kind(bytes: &[u8]) -> Option<(String, &'static str)> {
    let of = |kind: &str, advice| Some((kind.into(), advice));
    if let Some(&(_, kind, advice)) = SIGNATURES.iter().find(|(signature, ..)| bytes.starts_with(signature)) {
        return of(kind, advice);
    }
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some(archive(bytes)),
        [0x80, 2..=5, ..] => of("a Python pickle, such as torch.save wrote before version 1.6", TORCH),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => of("a TensorFlow Lite model (.tflite)", EXPORT),
        // Protocol buffers: a version, then a short text that names the producer, or longer messages.
        [8, 1..=30, 0x12, length @ 1..=0x7f, rest @ ..]
            if rest.iter().take(usize::from(*length)).all(|byte| byte.is_ascii_graphic() || *byte == b' ') =>
        {
            of("an ONNX model", ONNX)
        }
        [8, 1, 0x12, 0x80..=0xff, ..] => of("a TensorFlow SavedModel (saved_model.pb)", SAVED_MODEL),
        [8, 1..=30, 0x3a | 0x42, ..] => of("an ONNX model", ONNX),
        _ if bytes.get(257..262) == Some(b"ustar") => of("a tar archive", UNPACK),
        [0, 0, 0, 0, 0, 0, 0, 0, ..] => of("a file that begins with zeros", DOWNLOAD),
        _ => text(bytes),
    }
}

/// The name of the first file in a zip archive.
pub(super) fn first_in_zip(bytes: &[u8]) -> Option<&[u8]> {
    let length = u16::from_le_bytes(*bytes.strip_prefix(b"PK\x03\x04")?.get(22..)?.first_chunk()?);
    let rest = &bytes[bytes.len().min(30)..];
    Some(&rest[..rest.len().min(length.into())])
}

/// A zip archive: the name of its first file identifies the program.
fn archive(bytes: &[u8]) -> (String, &'static str) {
    let name = first_in_zip(bytes).unwrap_or_default();
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    let (kind, advice) = match () {
        () if name.ends_with(b".npy") => ("a NumPy archive (.npz)", NUMPY),
        () if name.ends_with(b"data.pkl") || has(b"/data.pkl") => ("a PyTorch file (torch.save)", TORCH),
        () if has(b"model.weights.h5") || has(b"\"keras_version\"") => ("a Keras model (.keras)", KERAS),
        () => ("a zip archive", "Give the safetensors file in it, or export the weights as one"),
    };
    (kind.into(), advice)
}

/// Text, if the file begins with text.
fn text(bytes: &[u8]) -> Option<(String, &'static str)> {
    let head = &bytes[..bytes.len().min(4096)];
    // The last bytes may be a part of a character.
    let text = head.utf8_chunks().next()?.valid();
    if text.len() + 4 <= head.len() {
        return None;
    }
    let text = text.trim_start();
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let lower = text.get(..64).unwrap_or(text).to_lowercase();
    let of = |kind: &str, advice| Some((kind.into(), advice));
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return of("a web page (HTML), perhaps an error page", DOWNLOAD);
    }
    if text.starts_with("<?xml") || text.starts_with('<') {
        return of("XML", WRONG);
    }
    if text.starts_with(['{', '[']) {
        return match () {
            () if text.contains("\"weight_map\"") => of(
                "the index of safetensors in several parts (JSON)",
                "Join its parts to one file in Python: load each with safetensors.torch.load_file, save all with \
                 safetensors.torch.save_file",
            ),
            () if text.contains("\"epochs\"") => of("JSON (by its keys the history or the report of a run)", WRONG),
            () => of("JSON", WRONG),
        };
    }
    if text.starts_with("epoch,steps,") {
        return of("the history of a run as CSV", WRONG);
    }
    let start: String = text.lines().next().unwrap_or_default().chars().take(40).collect();
    Some((format!("text that begins {start:?}"), WRONG))
}

/// What kind of directory was given as a file, and what to do.
#[cfg(not(target_family = "wasm"))]
pub(super) fn directory(path: &Path) -> String {
    if path.join("saved_model.pb").exists() {
        return format!("it is a directory with a TensorFlow SavedModel. {SAVED_MODEL}");
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".safetensors"));
    names.sort();
    names.truncate(4);
    match names[..] {
        [] => "it is a directory; give the name of a file".into(),
        _ => format!("it is a directory; give the name of a file in it, such as {}", names.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_what_it_is() {
        let zip = |name: &str| {
            let mut bytes = b"PK\x03\x04".to_vec();
            bytes.resize(26, 0);
            bytes.extend([name.len() as u8, 0, 0, 0]);
            [&bytes, name.as_bytes(), b"\x80\x02"].concat()
        };
        let cases: [(&[u8], &str, &str); 23] = [
            (&zip("archive/data.pkl"), "PyTorch", "torch.load"),
            (&zip("photo.jpg"), "zip archive", "safetensors"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle", "torch.load"),
            (b"\x80\x04\x95\x10\0\0\0\0\0\0\0", "pickle", "torch.load"),
            (b"GGUF\x03\0\0\0\x10\0\0\0", "GGUF", "Export"),
            (b"\x93NUMPY\x01\0v\0{'descr'", ".npy", "numpy.load"),
            (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "ONNX", "onnx.load"),
            (b"\x08\x01\x12\xa0\x8f\x02\n", "SavedModel", "keras"),
            (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite", "Export"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", "gzip", "gunzip"),
            (b"\x28\xb5\x2f\xfd\x04\0", "Zstandard", "unzstd"),
            (b"\x89PNG\r\n\x1a\n\0", "PNG", "Model::save"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG", "Model::save"),
            (b"\0\0\x08\x03\0\0\xea\x60", "IDX", "Mnist::read"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS", "git lfs pull"),
            (b"{\n  \"epochs\": [\n", "history", "Model::save"),
            (b"{\"metadata\":{},\"weight_map\":{\"a\":\"b\"}}", "index", "save_file"),
            (b"[1, 2, 3, 4, 5]", "JSON", "Model::save"),
            (b"\n<!DOCTYPE HTML><title>404", "HTML", "again"),
            (b"<?xml version=\"1.0\"?><svg/>", "XML", "Model::save"),
            (b"epoch,steps,learning_rate,loss", "CSV", "Model::save"),
            (b"Not Found, see elsewhere", "text that begins \"Not Found, see elsewhere\"", "Model::save"),
            (&[0; 64], "zeros", "again"),
        ];
        for (bytes, kind, advice) in cases {
            let told = recognise(bytes).unwrap_or_else(|| panic!("{kind}"));
            assert!(told.starts_with("not a safetensors file: it is ") && told.contains(kind), "{told}");
            assert!(told.contains(advice), "{told}");
        }
        // Read as tensors with the feature, and otherwise called by their names.
        let (numpy, keras) = (cfg!(feature = "numpy"), cfg!(feature = "keras"));
        let archive = [&zip("metadata.json"), &b"model.weights.h5"[..]].concat();
        let files: [(&[u8], _, _, _); 3] = [
            (&zip("arr_0.npy"), ".npz", "numpy.load", numpy),
            (b"\x89HDF\r\n\x1a\n\0\0", "HDF5", "w.path: w.numpy()", keras),
            (&archive, "Keras", "keras.models.load_model", keras),
        ];
        for (bytes, kind, advice, is_read) in files {
            let told = recognise(bytes);
            assert_eq!(told.is_none(), is_read, "{kind}");
            assert!(told.is_none_or(|told| told.contains(kind) && told.contains(advice)), "{kind}");
        }
        let header = |length: u64| [&length.to_le_bytes()[..], b"{\"x\":1}"].concat();
        for length in [7, 0x0708, 0x0007_1207_0708, 2120] {
            assert!(length > 1 << 32 || recognise(&header(length)).is_none(), "{length}");
        }
        assert_eq!(recognise(b"\x10\x9a\xb3\xc4\xd5\xe6\xf7\x88\x99"), None);
    }
}
