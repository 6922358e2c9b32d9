//! Damaged and malicious files: reading gives an error or a working value, never a panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A change to a file. Positions are relative to the length of the file or of its header.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    HeaderByte(Index, u8),
    /// Replaces a digit in the header: a size, an offset or an option.
    Digit(Index, u8),
    Cut(Index),
    /// Replaces a piece with bytes of another file.
    Piece {
        from: (usize, Index),
        to: Index,
        length: Index,
    },
    /// Removes or repeats a piece of the header, and corrects the header's length.
    Header {
        at: Index,
        length: Index,
        double: bool,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::HeaderByte(at, byte)),
        6 => (index(), b'0'..=b'9').prop_map(|(at, digit)| Damage::Digit(at, digit)),
        1 => index().prop_map(Damage::Cut),
        1 => ((0..3usize, index()), index(), index()).prop_map(|(from, to, length)| Damage::Piece { from, to, length }),
        2 => (index(), index(), any::<bool>()).prop_map(|(at, length, double)| Damage::Header { at, length, double }),
    ]
}

fn header(file: &[u8]) -> usize {
    let length = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    length.min(file.len().saturating_sub(8) as u64) as usize
}

fn apply(damage: &Damage, file: &mut Vec<u8>) {
    let (length, header) = (file.len(), header(file));
    if header == 0 {
        return;
    }
    match damage {
        Damage::Byte(at, byte) => file[at.index(length)] = *byte,
        Damage::HeaderByte(at, byte) => file[8 + at.index(header)] = *byte,
        Damage::Digit(at, digit) => {
            let digits: Vec<usize> = (8..8 + header).filter(|&i| file[i].is_ascii_digit()).collect();
            if !digits.is_empty() {
                file[digits[at.index(digits.len())]] = *digit;
            }
        }
        Damage::Cut(at) => file.truncate(at.index(length)),
        Damage::Piece { from: (which, from), to, length: count } => {
            let other = &files()[*which];
            let (from, to) = (from.index(other.len()), to.index(length));
            let count = count.index(64).min(other.len() - from).min(length - to);
            file[to..to + count].copy_from_slice(&other[from..from + count]);
        }
        Damage::Header { at, length: count, double } => {
            let start = 8 + at.index(header);
            let piece = start..(start + count.index(64)).min(8 + header);
            let change = if *double { file[piece.clone()].repeat(2) } else { Vec::new() };
            file.splice(piece, change);
            let header = header + file.len() - length;
            file[..8].copy_from_slice(&(header as u64).to_le_bytes());
        }
    }
}

/// A model, a checkpoint with all kinds of state, and weights for PyTorch.
fn files() -> &'static [Vec<u8>; 3] {
    static FILES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    FILES.get_or_init(|| {
        let model = small();
        let config = TrainerConfig { batch: 4, accumulate: 2, ..TrainerConfig::default() };
        let (loss, adam) = (Loss::SoftmaxCrossEntropy, Adam::default());
        let mut trainer = Trainer::new(Device::Cpu, model.network(), loss, adam, config).unwrap();
        let early_stopping = Some(EarlyStopping::default());
        let mut file = Vec::new();
        let path = folder("damage").join("run");
        let checkpoint = Some(Checkpoint { path: &path, every: Some(1) });
        let fit = Fit { epochs: 3, early_stopping, checkpoint, ..Fit::default() };
        trainer
            .fit(data(), fit, |_| {
                if let Ok(run) = std::fs::read(&path) {
                    file = run;
                }
            })
            .unwrap();
        assert!(file.windows(12).any(|w| w == b"trainer.best"));
        let weights = model.weights_to_bytes(Naming::PyTorch).unwrap();
        [model.to_bytes().unwrap(), file, weights]
    })
}

fn small() -> Model {
    let network = Network::input(3).dense(4, Relu).layer_norm().dense(2, Identity).build().unwrap();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(3)).unwrap();
    model.for_loss(Loss::SoftmaxCrossEntropy)
}

fn data() -> Dataset {
    Dataset::from_f32(random(1, 10 * 3), 3, vec![0, 1, 1, 0, 1, 0, 0, 1, 1, 0], 2).unwrap()
}

/// Reads a file in every way. Accepted files must work.
fn read(file: &[u8]) {
    let run = |model: Model| {
        model.predict_proba(&vec![0.5; model.network().inputs() as usize]).unwrap();
        Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    };
    for model in [Model::from_bytes(Device::Cpu, file), Model::weights_from_bytes(Device::Cpu, small().network(), file)]
    {
        match model {
            Ok(model) => run(model),
            Err(Error::File { reason, .. }) => assert!(!reason.is_empty()),
            Err(error) => panic!("{error:?}"),
        }
    }
    match Trainer::resume_from_bytes(Device::Cpu, file) {
        Ok(mut trainer) => {
            run(trainer.model());
            Trainer::resume_from_bytes(Device::Cpu, &trainer.to_bytes().unwrap()).unwrap();
            let early_stopping = Some(EarlyStopping::default());
            match trainer.fit(data(), Fit { early_stopping, ..Fit::default() }, |_| ()) {
                // With other options, training may diverge.
                Ok(_) | Err(Error::NonFiniteLoss { .. }) => {}
                // Shapes of layers without weights may have changed.
                Err(Error::Shape { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        Err(Error::File { reason, .. }) => assert!(!reason.is_empty()),
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Reading a damaged file gives an error or a working value.
    #[test]
    fn a_damaged_file_is_refused_or_works(which in 0..3usize, damage in prop::collection::vec(damage(), 1..4)) {
        let mut file = files()[which].clone();
        damage.iter().for_each(|damage| apply(damage, &mut file));
        read(&file);
    }

    /// Reading random bytes after a valid header length gives an error.
    #[test]
    fn noise_behind_a_valid_length_is_refused(header in any::<Vec<u8>>(), numbers in any::<Vec<u8>>()) {
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &numbers].concat();
        prop_assert!(Model::from_bytes(Device::Cpu, &file).is_err());
        read(&file);
    }
}

/// Reading a file that is cut anywhere gives an error.
#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for file in files() {
        read(file);
        for length in 0..file.len() {
            assert!(Model::from_bytes(Device::Cpu, &file[..length]).is_err(), "{length}");
        }
    }
}

/// In this file the run has trained a part of an epoch, but the cursor would start a new one. The partial epoch is
/// discarded.
#[test]
fn an_epoch_cut_short_over_more_rows_than_the_cursor_knows_is_given_up() {
    let mut file = files()[1].clone();
    let numbers = 8 + header(&file);
    let tensors: serde_json::Value = serde_json::from_slice(&file[8..numbers]).unwrap();
    let step = numbers + tensors["trainer.step"]["data_offsets"][0].as_u64().unwrap() as usize;
    let rows = step + std::mem::offset_of!(wgrad::plan::StepState, data_rows);
    assert_eq!(file[rows..rows + 4], 10u32.to_le_bytes());
    file[rows] = 9;
    read(&file);
}
