//! Runs the examples as a user does: cargo builds and starts each, and the tests read the output. The file's name
//! sorts after `kernels`. That test compiles the doctor's kernels on both cores, and drivers cache them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A command that starts an example. The caller adds the options.
fn example(name: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--example", name]);
    // Uses this test's profile, so that cargo finds the example already built.
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.arg("--");
    cargo
}

/// The text that a command prints, and its output and status.
fn output(command: &mut Command) -> (String, Output) {
    let output = command.output().expect("cargo runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output)
}

/// The text that an example prints with these options, and its output and status.
fn started(name: &str, options: &[&str]) -> (String, Output) {
    output(example(name).args(options))
}

/// An empty folder.
fn folder(name: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&out);
    out
}

/// The text that an example prints on a device. The example must succeed and write all its pictures.
fn run(name: &str, device: &str, options: &[&str], pictures: &[&str]) -> String {
    let out = folder(&format!("{name}/{device}"));
    let (printed, output) = output(example(name).args(["--device", device, "--out"]).arg(&out).args(options));
    assert!(output.status.success(), "{name}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    pictures.iter().for_each(|picture| check_picture(&out.join(picture)));
    assert!(printed.ends_with(&format!("in {}\n", out.display())), "{printed}");
    printed
}

fn check_picture(path: &Path) {
    let svg = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{}", path.display());
}

/// The number that follows these words.
fn after(printed: &str, words: &str) -> f64 {
    let (_, rest) = printed.split_once(words).unwrap_or_else(|| panic!("no {words:?} in: {printed}"));
    let number = rest.trim_start().split([' ', '\n', ',', '%']).next().unwrap_or_default();
    number.parse().unwrap_or_else(|e| panic!("after {words:?}: {number:?}: {e}"))
}

#[test]
fn neuron_has_the_outputs_and_gradients_of_pen_and_paper() {
    for device in ["auto", "cpu"] {
        let printed = run("neuron", device, &[], &["gradient.svg"]);
        assert_eq!(after(&printed, "b = 4, on x = [2, 3]:"), 0.9990889);
        assert_eq!(after(&printed, "b = 0, on x = [2, 3]:"), 0.7216325);
        assert_eq!(after(&printed, "on x = [-2, -1]:"), 0.524);
        assert_eq!(after(&printed, "w1, x1 to h1"), 0.02147);
        for line in printed.lines().filter(|line| line.starts_with(['w', 'b'])) {
            let numbers: Vec<f64> = line.split_whitespace().rev().take(2).map(|n| n.parse().unwrap()).collect();
            assert!((numbers[0] - numbers[1]).abs() < 5e-5, "{line}");
        }
    }
}

#[test]
fn weight_height_tells_strangers_apart_whatever_the_seed() {
    for (device, seed) in [("auto", "0"), ("cpu", "0"), ("cpu", "1"), ("cpu", "2")] {
        let printed = run("weight_height", device, &["--seed", seed], &["loss.svg", "boundary.svg"]);
        assert_eq!(printed.matches(": loss ").count(), 100, "{printed}");
        assert!(after(&printed, "epoch 1000: loss") < 0.01, "{printed}");
        assert!(after(&printed, "63 inches: probability of a woman") > 0.9, "{printed}");
        assert!(after(&printed, "68 inches: probability of a woman") < 0.1, "{printed}");
    }
}

#[test]
fn two_layer_falls_all_the_way_and_learns_every_row() {
    for (device, seed) in [("auto", "0"), ("cpu", "0"), ("cpu", "1")] {
        let printed = run("two_layer", device, &["--seed", seed], &["loss.svg"]);
        assert!(printed.contains("the loss decreased in every iteration"), "{printed}");
        for (row, target) in [("[0.0, 0.0", 0.0), ("[0.0, 1.0", 1.0), ("[1.0, 0.0", 1.0), ("[1.0, 1.0", 0.0)] {
            let output = after(&printed, &format!("{row}, 1.0]:"));
            assert!((output - target).abs() < 0.05, "{printed}");
        }
    }
}

/// Errors must appear before any training. The message is one line with the wrong item, the expected value and the
/// actual value.
#[test]
fn faults_are_told_at_once() {
    let folder = folder("faults");
    std::fs::create_dir_all(folder.join("taken/confusion.svg")).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(at("file"), "not a folder").unwrap();
    let mut jpeg = Vec::new();
    let grey = image::DynamicImage::from(image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(x * y) as u8])));
    grey.write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
    std::fs::write(at("cut.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    std::fs::write(at("bad.png"), b"\x89PNG\r\n\x1a\nxx").unwrap();
    let cases: [(&str, &[&str], &str); 19] = [
        ("neuron", &["--device", "no such GPU"], "no GPU named \"no such GPU\": there is "),
        ("neuron", &["--device", ""], "expected auto, cpu or part of a GPU's name"),
        ("neuron", &["--device", "cpu", "--out", &at("file")], "file is a file, not a folder"),
        ("weight_height", &["--epochs", "-1"], "'--epochs <EPOCHS>': expected a whole number from 1 to 4294967295"),
        ("two_layer", &["--seed", "-3"], "'--seed <SEED>': expected a whole number from 0 to"),
        ("cats", &["--rates", "1,-1"], "'-1' for '--rates <RATES>': expected a number, 0 or more"),
        ("cats", &["--layers", "20,7,"], "'' for '--layers <UNITS>': expected a whole number"),
        (
            "mnist_options",
            &["--load", &at("file"), "--batch", "8"],
            "--load trains no network, so --batch would change nothing",
        ),
        ("mnist_options", &["--warm-up", "5", "--epochs", "2"], "--warm-up: expected at most --epochs (2), got 5"),
        ("mnist_options", &["--image", &at("cut.jpg")], "cut.jpg: it is a JPEG file that was cut short"),
        ("mnist_options", &["--image", &at("bad.png")], "bad.png: unexpected end of file"),
        ("mnist_gpu", &["--load", &at("file"), "--seed", "1"], "cannot be used with"),
        ("mnist_gpu", &["--load", &at("file"), "--json", &at("file")], "file is read, so it cannot be written"),
        ("mnist_gpu", &["--plot", &at("taken")], "confusion.svg: it is a folder"),
        ("sdf", &["--headless", "--device", "cpu"], "--device cpu: this example needs a GPU"),
        ("denoise", &["--minutes", "-1"], "'-1' for '--minutes <MINUTES>': expected a number from 0 to 1440"),
        ("kernels", &["matmuls"], "no kernel's name contains \"matmuls\""),
        ("embed", &["--into", "x"], "unexpected option --into"),
        ("embed", &["--out", &at("file")], "file is a file, not a folder"),
    ];
    for (name, options, told) in cases {
        let (_, output) = started(name, options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(told), "{name} {options:?}: {errors}");
        assert!(!errors.contains("panicked"), "{name} {options:?}: {errors}");
    }
}

/// The reader of the output may close it, as in `neuron | head -1`. The run must continue to its end.
#[test]
fn a_reader_that_leaves_ends_no_run() {
    let out = folder("unread");
    let mut run = example("neuron").arg("--out").arg(&out).stdout(Stdio::piped()).spawn().expect("cargo runs");
    drop(run.stdout.take());
    assert!(run.wait().unwrap().success());
    check_picture(&out.join("gradient.svg"));
}

#[test]
fn mnist_options_prints_which_options_a_resumed_run_ignores() {
    let folder = folder("resume");
    let at = |name: &str| folder.join(name).display().to_string();
    let run = |options: &[&str]| {
        let (printed, output) =
            output(example("mnist_options").arg("--resume").arg(folder.join("run.st")).args(options));
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    };
    assert!(!run(&["--epochs", "1", "--batch", "2048", "--hidden", "16"]).contains("resumed"));
    let printed = run(&["--epochs", "2", "--seed", "5"]);
    assert!(
        printed.contains("run.st after epoch 1\nignored, because the checkpoint has its own: --seed\n"),
        "{printed}"
    );
    let printed = run(&["--epochs", "2"]);
    assert!(printed.contains("run.st, which has all its 2 epochs") && !printed.contains("ignored"), "{printed}");
    let options = ["--batch", "4096", "--optimizer", "sgd", "--epochs", "3", "--save", &at("model")];
    let printed = run(&options);
    assert!(printed.contains("after epoch 2\nchanged from here on: --batch, --optimizer\n"), "{printed}");
    assert!(printed.contains("epoch 3/3: "), "{printed}");

    let (printed, output) = started("mnist_gpu", &["--load", &at("model"), "--json", &at("report")]);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(at("report")).unwrap()).unwrap();
    let told = after(&printed, "test accuracy");
    assert!((report["test_accuracy"].as_f64().unwrap() * 100.0 - told).abs() <= 0.005, "{printed}{report}");
    assert!(report["test_loss"].as_f64().unwrap() > 0.0 && report["epochs"] == serde_json::json!([]), "{report}");
}

/// A short form: 256 of the 2048 steps.
#[test]
fn sdf_learns_a_shape_and_marches_rays_through_the_network() {
    let options = ["--headless", "--steps", "256", "--size", "64"];
    let printed = run("sdf", "auto", &options, &["sheet.svg", "loss.svg"]);
    assert!(after(&printed, "step     1: loss") > 0.2, "{printed}");
    assert!(after(&printed, "step   256: loss") < 0.01, "{printed}");
    assert!(after(&printed, "final overlap of the outlines") > 95.0, "{printed}");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdf/auto");
    let frame = |step: u32| out.join(format!("step_{step:06}.png"));
    assert!(std::fs::read(frame(256)).unwrap().starts_with(b"\x89PNG"));
    // A shorter run must delete the pictures of the longer run.
    started("sdf", &["--headless", "--steps", "3", "--size", "64", "--out", &out.display().to_string()]);
    assert_eq!([2, 3, 4, 256].map(|step| frame(step).exists()), [true, true, false, false]);
}

#[test]
fn kernels_are_listed_printed_and_written() {
    let (list, _) = started("kernels", &[]);
    for adapter in ["software8 software16 software gpu large-registers", "gpu large-registers", "software8"] {
        assert!(list.lines().any(|line| line.ends_with(&format!("  {adapter}"))), "{list}");
    }
    let (text, _) = started("kernels", &["matmul", "--adapter", "gpu", "--hidden", "48", "--batch", "40"]);
    assert!(text.contains("\n// gpu: matmul Nn 40x48x784 bias relu -> dense_1, workgroups 4\n"), "{text}");
    assert!(text.contains(" uniforms m 40 n 48 k 784 ") && text.contains("\n@compute "), "{text}");
    let out = folder("kernels");
    let (printed, _) = started("kernels", &["update", "--out", &out.display().to_string()]);
    let files: Vec<_> = out.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    assert!(printed.starts_with(&format!("{} WGSL files are in ", files.len())), "{printed}");
    for file in files {
        naga::front::wgsl::parse_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    }
}

/// This app takes no options except its folder.
#[test]
fn embed_learns_within_the_frames_of_an_app() {
    let out = folder("embed");
    let (printed, output) = output(example("embed").arg("--out").arg(&out));
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("240 frames, 0 submissions by wgrad"), "{printed}");
    let losses = [40, 80, 120, 160, 200, 240]
        .map(|frame| after(printed.split_once(&format!("frame {frame}:")).unwrap().1, "loss"));
    assert!(losses[5] < 0.7 * losses[0], "{printed}");
    // Six frames of 96 pixels, original and learnt.
    let picture = image::open(out.join("frames.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (576, 192));
}

/// A small image, an eighth of the default's training.
#[test]
fn radiance_cache_has_less_noise_than_plain_path_tracing_and_little_bias() {
    let options = ["--headless", "--size", "32", "--reference", "512", "--frames", "64"];
    let printed = run("radiance_cache", "auto", &options, &["sheet.svg"]);
    let [first, last] = ["frame     1: 4 steps,", "frame    64: 256 steps,"].map(|frame| {
        let (_, rest) = printed.split_once(frame).unwrap_or_else(|| panic!("{printed}"));
        after(rest, "relative L2")
    });
    assert!(last < first / 2.0, "{printed}");
    // After one bounce, the noise of the lamp's light at the first surface remains.
    for (name, most) in [("network at the first surface:", 0.05), ("network after one bounce:", 0.9)] {
        let (_, network) = printed.split_once(name).unwrap_or_else(|| panic!("{printed}"));
        let (_, network) = network.split_once("variance").unwrap();
        assert!(after(network, ",") < most, "{printed}");
        assert!(after(network, "mean squared error of a sample") < most, "{printed}");
        assert!(after(network, "bias of the mean") < 3.0, "{printed}");
    }
}

/// A tenth of the images. The digits 5 to 9, which the loaded model cannot give, are 48.6% of the test images.
#[test]
fn finetune_learns_ten_digits_from_a_model_of_five() {
    let save = folder("finetune").join("digits.onnx").display().to_string();
    let (printed, output) = started("finetune", &["--rows", "6000", "--batch", "64", "--save", &save]);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let percent = |words: &str, digits: &str| {
        let line = printed.lines().find(|line| line.starts_with(words) && line.contains(digits));
        after(line.unwrap_or_else(|| panic!("{printed}")), words)
    };
    assert!(percent("loaded:", "0 to 4") > 99.0 && percent("loaded:", "all test digits") < 51.4, "{printed}");
    assert!(percent("trained:", "all test digits") > 85.0, "{printed}");
    assert!(printed.contains("the same digit for 10000 of 10000 test images"), "{printed}");
}

/// A few steps on a small picture. Training starts from the filter's result and must improve it.
#[test]
fn denoise_learns_within_the_frames_of_a_renderer() {
    let options = ["--headless", "--size", "64", "--reference", "64", "--steps", "200", "--minutes", "60"];
    let printed = run("denoise", "auto", &options, &["sheet.svg", "curves.svg"]);
    let psnr = |name: &str| after(&printed, &format!("mean of 8 views, {name}: PSNR"));
    assert!(psnr("denoised") > psnr("noisy") + 8.0 && psnr("denoised") > psnr("à-trous"), "{printed}");
    let strip = image::open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("denoise/auto/view_8.png")).unwrap();
    assert_eq!((strip.width(), strip.height()), (256, 64));
}

#[test]
fn learn_an_image_learns_and_shows_what_it_has() {
    let options = ["--headless", "--size", "64", "--steps", "100", "--batch", "1024"];
    let printed = run("learn_an_image", "auto", &options, &["curves.svg", "comparison.svg"]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("learn_an_image").join("auto");
    let psnr = |step: u32| {
        let picture = image::open(folder.join(format!("step_{step:06}.png"))).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64));
        let (_, of_step) = printed.split_once(&format!("step {step}: ")).unwrap();
        after(of_step, "PSNR")
    };
    let learned: Vec<f64> = [1, 2, 4, 8, 16, 32, 64, 100].map(psnr).into();
    assert!(learned[0] < 15.0 && learned[7] > 24.0, "{printed}");
}

/// Both ways of training learn the image. Times on a busy machine vary, so the test does not compare them.
#[test]
fn learn_an_image_compares_fused_training_with_op_by_op() {
    let (printed, output) =
        started("learn_an_image", &["--compare", "--size", "64", "--steps", "96", "--batch", "512"]);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(after(&printed, "fused:"), 96.0);
    for name in ["fused:", "op by op:"] {
        let (_, run) = printed.split_once(&format!("\n{name}")).unwrap_or_else(|| panic!("{printed}"));
        assert!(after(run, "PSNR") > 15.0, "{printed}");
    }
}

/// A small material and few steps. All figures are of the file, which the example has read again.
#[test]
fn neural_texture_compresses_a_material_into_a_file() {
    let options = ["--headless", "--size", "64", "--steps", "96"];
    let printed = run("neural_texture", "auto", &options, &["curves.svg"]);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("neural_texture/auto");
    let rows = std::fs::read_to_string(out.join("results.csv")).unwrap();
    let numbers = |form: &str| -> Vec<f64> {
        let (_, row) = rows.split_once(&format!("\"{form}\",")).unwrap_or_else(|| panic!("no {form:?} in {rows}"));
        row.lines().next().unwrap().split(',').map(|number| number.parse().unwrap()).collect()
    };
    let (neural, jpeg) = (numbers("latents of 3 bits"), numbers("JPEG, same bytes"));
    assert_eq!(neural[0], std::fs::metadata(out.join("material.safetensors")).unwrap().len() as f64);
    assert!(jpeg[0] <= neural[0], "{rows}");
    // The mean of each channel gives less than 15 dB. Level 1 must be decoded, too.
    assert!(neural[2] > 18.0 && neural[3] > 18.0, "{printed}");
    let plane = image::open(out.join("plane.png")).unwrap();
    assert_eq!((plane.width(), plane.height()), (1024, 768));
}

/// A model of PyTorch is run, converted three times, and gives the same numbers each time.
#[test]
fn inspect_shows_runs_and_converts_model_files() {
    let out = folder("inspect");
    std::fs::create_dir_all(&out).unwrap();
    let path = |name: &str| out.join(name).display().to_string();
    let inspect = |file: &str, options: &[&str]| {
        let (printed, output) = started("inspect", &[&[file, "--device", "cpu"], options].concat());
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    };
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/lenet.onnx").display().to_string();
    let (input, array, saved, onnx) = (path("x.npy"), path("y.npy"), path("lenet.safetensors"), path("lenet.onnx"));
    let pixels: Vec<f32> = (0..2 * 784).map(|i| (i % 29) as f32 / 29.0).collect();
    std::fs::write(&input, wgrad::NumpyArray::new(&[2, 28, 28, 1], &pixels).unwrap().to_npy()).unwrap();

    let first = inspect(&digits, &["--run", &input, "--output", &array, "--to", "safetensors", "--save", &saved]);
    assert!(first.contains("an ONNX model") && first.contains("Total params: 2,268"), "{first}");
    assert!(inspect(&array, &[]).contains("array: [2, 10]"));
    let numbers =
        |printed: &str| printed.split_once("output \"output\" [2, 10]: ").unwrap().1.lines().nth(1).unwrap().to_owned();
    let second = inspect(&saved, &["--run", &input, "--to", "onnx", "--save", &onnx]);
    assert!(second.contains("a model of wgrad"), "{second}");
    let third = inspect(&onnx, &["--run", &input, "--to", "keras", "--save", &path("lenet.weights.h5")]);
    assert_eq!(numbers(&first), numbers(&second));
    assert_eq!(numbers(&first), numbers(&third));

    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").display().to_string();
    let (_, refused) = started("inspect", &[&text]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no ONNX file") && !refused.status.success());
}

#[test]
fn own_layer_checks_its_layer_and_learns_a_picture() {
    let folder = folder("own_layer");
    std::fs::create_dir_all(&folder).unwrap();
    let (printed, output) = output(example("own_layer").current_dir(&folder).arg("12"));
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(after(&printed, "sine layers:") > 20.0 && after(&printed, "hash grid:") > 20.0, "{printed}");
    assert!(folder.join("out/own_layer/sheet.svg").exists());
}

/// The project may not distribute these data. The test runs only if they lie beside it.
#[test]
fn cats_begins_at_ln_2_and_learns() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cats");
    if !data.exists() {
        // Written directly to stderr, because eprintln's output is hidden if the test passes.
        let _ = writeln!(std::io::stderr(), "NOT RUN: the example cats, as there are no data in {}", data.display());
        return;
    }
    let data = data.to_string_lossy();
    let pictures = ["cost.svg", "test.svg", "confusion.svg"];
    let printed = run("cats", "auto", &["--data", &data, "--iterations", "301"], &pictures);
    // ln 2, to the six printed decimals.
    assert!((after(&printed, "cost after iteration 0:") - std::f64::consts::LN_2).abs() < 5e-7);
    assert!(after(&printed, "cost after iteration 300:") < 0.4, "{printed}");
    assert!(after(&printed, "train accuracy") > 80.0, "{printed}");
}

#[test]
fn bench_measures_what_lies_below_the_roofs() {
    let out = folder("bench");
    let (printed, output) = output(example("bench").args(["--quick", "--out"]).arg(&out));
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    check_picture(&out.join("roofline.svg"));
    let read = |file: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(out.join(file)).unwrap()).unwrap()
    };
    assert!(read("trace.json")["traceEvents"].as_array().unwrap().len() > 20);
    let adapter = &read("bench.json")["adapters"][0];
    for roof in ["kernel_copy_bytes_per_second", "command_copy_bytes_per_second", "flops_per_second"] {
        assert!(adapter[roof].as_f64().unwrap() > 1e6, "{adapter}");
    }
    for kind in ["products", "training", "inference"] {
        let measured = adapter[kind].as_array().unwrap();
        assert!(!measured.is_empty(), "{kind}");
        for one in measured {
            let [seconds, flops, rate] = ["seconds", "flops", "flops_per_second"].map(|key| one[key].as_f64().unwrap());
            assert!(seconds > 0.0 && (rate * seconds / flops - 1.0).abs() < 1e-6, "{one}");
            // The share should be at most 1, but other load on the machine varies. This bound catches wrong units.
            assert!((0.0..10.0).contains(&one["share_of_roof"].as_f64().unwrap()), "{one}");
            assert!(printed.contains(one["title"].as_str().unwrap()), "{printed}");
        }
    }
    let (printed, output) = started("bench", &["--device", "no such adapter"]);
    assert!(!output.status.success() && printed.contains("adapter"), "{printed}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no GPU named \"no such adapter\": there is "));
}

#[test]
fn doctor_passes_kernels_and_detects_falsified_inputs() {
    let (printed, output) = started("doctor", &["--kernel", "softmax"]);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.matches("  pass\n").count(), 2, "with the device's features and without: {printed}");
    for words in ["driver ", "features ", "limit of ", "All is well"] {
        assert!(printed.contains(words), "{words:?} in {printed}");
    }
    for (kernel, least, told) in [
        ("softmax", 2, "softmax: out[0]"),
        ("softmax_cross_entropy", 8, "first in step 42"),
        ("gather", 4, "gather: x["),
        ("next_batch", 8, "next_batch: step["),
    ] {
        let (printed, output) = started("doctor", &["--kernel", kernel, "--falsify"]);
        assert!(output.status.success(), "{printed}");
        let detected = printed.matches("  detected\n").count();
        assert!(detected >= least, "{printed}");
        assert!(printed.contains(told), "what differs is told: {printed}");
        assert!(printed.ends_with(&format!("All {detected} cases detected the changed input.\n")), "{printed}");
    }
    let (_, output) = started("doctor", &["--kernel", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("layer_norm, "), "the kernels are named");
}

/// A few hundred steps must show that a convolutional network learns.
#[test]
fn mnist_cnn_learns_digits_and_draws_what_it_sees() {
    let folder = folder("mnist_cnn");
    let options = ["--rows", "2048", "--epochs", "2", "--batch", "32", "--json", "report.json", "--plot", "."];
    let at = |name: &&str| if *name == "." { folder.clone() } else { folder.join(name) };
    let options: Vec<_> = options.iter().map(|o| if o.contains('.') { at(o).into() } else { (*o).into() }).collect();
    let (printed, output) = output(example("mnist_cnn").args::<_, std::ffi::OsString>(options));
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(after(printed.lines().last().unwrap(), "test accuracy") > 90.0, "{printed}");
    for picture in ["history.svg", "digits.svg", "confusion.svg", "filters.svg", "features.svg"] {
        check_picture(&folder.join(picture));
    }
    let report = std::fs::read_to_string(folder.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["test_accuracy"].as_f64().unwrap() > 0.9, "{report}");
}

/// Bright pictures lie in one folder and dark ones in another, in several sizes. A file that is no picture must be
/// ignored.
#[test]
fn pictures_learns_one_folder_a_class() {
    let folder = folder("pictures-of-classes");
    for (class, brightness) in [("bright", 180), ("dark", 20)] {
        let class = folder.join(class);
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join("notes.txt"), "none").unwrap();
        for i in 0..20u32 {
            let of = |x: u32, y: u32, channel: u32| (brightness + (x * 7 + y * 3 + i * 11 + channel * 5) % 50) as u8;
            let picture = image::RgbImage::from_fn(20 + i, 30, |x, y| image::Rgb([0, 1, 2].map(|c| of(x, y, c))));
            picture.save(class.join(format!("{i}.png"))).unwrap();
        }
    }
    let at = folder.to_str().unwrap();
    let printed = run("pictures", "auto", &[at, "--side", "16", "--epochs", "6", "--batch", "8"], &["confusion.svg"]);
    assert!(printed.starts_with("40 images of the classes bright, dark\n"), "{printed}");
    assert_eq!(after(&printed, "test accuracy"), 100.0, "{printed}");
    let (_, output) = started("pictures", &[folder.join("dark").to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("expected at least 2 subfolders with PNG or JPEG images, one subfolder per class, found 0"),
        "{error}"
    );
}

/// A few steps: after each epoch the patches must be closer to the originals.
#[test]
fn super_resolution_learns_and_draws_the_picture_held_out() {
    let options = ["--size", "96", "--patches", "64", "--epochs", "3"];
    let printed = run("super_resolution", "auto", &options, &["curve.svg", "sheet.svg"]);
    let psnr: Vec<f64> = (1..=3).map(|epoch| after(&printed, &format!("epoch {epoch}/3: training PSNR"))).collect();
    assert!(psnr[0] < psnr[1] && psnr[1] < psnr[2], "{printed}");
    assert!(after(&printed, "held-out image: bicubic PSNR") > 20.0, "{printed}");
}
