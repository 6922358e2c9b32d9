//! Arrays of NumPy: `.npy` and `.npz` files as data sets and as weights. Feature `numpy`.

mod header;

use safetensors::tensor::Dtype;

use self::header::Header;
use crate::archive;
use crate::dataset::{Dataset, Features};
use crate::error::{Error, Result};
use crate::half::from_f16;
use crate::shape::Shape;

/// An array of numbers as NumPy stores it, in a `.npy` file or with others in a `.npz` file. Feature `numpy`.
///
/// All versions of the format are read, in C or Fortran order and in both byte orders. The numbers may be booleans,
/// integers of 8 to 64 bits, or floats of 16, 32 or 64 bits.
///
/// ```no_run
/// use wgrad::{Dataset, NumpyArray};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // np.savez("digits.npz", images=images, labels=labels), with images of shape [rows, 28, 28]
/// let arrays = NumpyArray::read_npz(&std::fs::read("digits.npz")?)?;
/// let [images, labels] = ["images", "labels"].map(|name| arrays[name].clone());
/// let rows = images.shape()[0];
/// let data = Dataset::from_arrays(&images.reshaped(&[rows, 28, 28, 1])?, &labels, 10)?;
/// # Ok(())
/// # }
/// ```
///
/// Weights of a network are read from a `.npz` file by [`Model::load_weights`](crate::Model::load_weights), and
/// written by [`Model::save_weights`](crate::Model::save_weights) with
/// [`WeightFormat::Npz`](crate::WeightFormat::Npz).
#[derive(Debug, Clone, PartialEq)]
pub struct NumpyArray {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// The elements in C order, little-endian.
    pub(crate) bytes: Vec<u8>,
}

fn fault(reason: String) -> Error {
    Error::File { path: "the NumPy array".into(), reason }
}

impl NumpyArray {
    /// An array of f32 in C order (row-major).
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has another number of elements, or more than 64 dimensions.
    pub fn new(shape: &[usize], numbers: &[f32]) -> Result<Self> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: vec![numbers.len()], bytes }.reshaped(shape)
    }

    /// Reads the bytes of a `.npy` file.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no such file, are cut short, or hold something other than numbers.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).map_err(fault)
    }

    /// Reads the bytes of a `.npz` file: the arrays by their names. The file may be compressed.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no such file, are damaged, or unpack to more than 256 MiB and 100 times their
    /// size. The errors of [`read`](Self::read), with the name of the array.
    pub fn read_npz(bytes: &[u8]) -> Result<std::collections::BTreeMap<String, Self>> {
        Ok(Self::parse_npz(bytes).map_err(fault)?.into_iter().collect())
    }

    /// The arrays of a `.npz` file in its order.
    pub(crate) fn parse_npz(bytes: &[u8]) -> std::result::Result<Vec<(String, Self)>, String> {
        if !archive::is_zip(bytes) {
            return Err("not a .npz file, because it is no zip archive".into());
        }
        let files = archive::unpack(bytes)?.into_iter();
        let arrays = files.map(|(file, contents)| {
            let name = file.strip_suffix(".npy").unwrap_or(&file).to_owned();
            let array = Self::parse(&contents).map_err(|reason| format!("array {name:?}: {reason}"))?;
            Ok((name, array))
        });
        arrays.collect()
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let (Header { dtype, big_endian, fortran, shape }, data) = header::parse(bytes)?;
        let (size, mut bytes) = (dtype.bitsize() / 8, data.to_vec());
        if big_endian {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        if fortran && shape.len() > 1 && !bytes.is_empty() {
            bytes = c_order(&bytes, &shape, size);
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// The bytes of a `.npy` file with this array, in C order.
    pub fn to_npy(&self) -> Vec<u8> {
        [&header::encode(self.dtype, &self.shape)[..], &self.bytes].concat()
    }

    /// The length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The same elements in the same order, with another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has another number of elements, or more than 64 dimensions.
    pub fn reshaped(self, shape: &[usize]) -> Result<Self> {
        if shape.len() > header::MOST_DIMENSIONS {
            let expected = format!("at most {} dimensions", header::MOST_DIMENSIONS);
            return Err(Error::shape("new shape of the NumPy array", expected, format!("{} dimensions", shape.len())));
        }
        let [old, new] = [&self.shape, shape].map(header::elements);
        match old == new {
            true => Ok(Self { shape: shape.to_vec(), ..self }),
            false => {
                let expected = format!("a shape of {} elements, as {:?} has", old.unwrap_or(0), self.shape);
                Err(Error::shape("new shape of the NumPy array", expected, format!("{shape:?}")))
            }
        }
    }

    /// The numbers in C order. Integers above 2⁵³ are rounded.
    fn numbers(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        macro_rules! of {
            ($from:ty) => {
                Box::new(self.bytes.as_chunks().0.iter().map(|&bytes| <$from>::from_le_bytes(bytes) as f64))
            };
        }
        match self.dtype {
            Dtype::F64 => of!(f64),
            Dtype::F32 => of!(f32),
            Dtype::F16 => {
                Box::new(self.bytes.as_chunks().0.iter().map(|&bits| from_f16(u16::from_le_bytes(bits)).into()))
            }
            Dtype::I64 => of!(i64),
            Dtype::U64 => of!(u64),
            Dtype::I32 => of!(i32),
            Dtype::U32 => of!(u32),
            Dtype::I16 => of!(i16),
            Dtype::U16 => of!(u16),
            Dtype::I8 => of!(i8),
            // Bytes and booleans: the header allows no other type.
            _ => of!(u8),
        }
    }

    /// The numbers as f32, in C order. Integers and f64 are rounded. Booleans are 0 and 1.
    pub fn to_f32(&self) -> Vec<f32> {
        self.numbers().map(|number| number as f32).collect()
    }

    /// The numbers as labels, in C order.
    ///
    /// # Errors
    /// [`Error::Shape`] for the first number that is no whole number from 0 to 2³² − 1.
    pub fn to_labels(&self) -> Result<Vec<u32>> {
        let label = |(i, number): (usize, f64)| match f64::from(number as u32) == number {
            true => Ok(number as u32),
            false => {
                let what = format!("label {i} of the NumPy array");
                Err(Error::shape(what, "a whole number from 0 to 4294967295", number))
            }
        };
        self.numbers().enumerate().map(label).collect()
    }

    /// The features of a data set: bytes (uint8) stay bytes, and are read as byte / 255. Other numbers become f32.
    pub fn to_features(&self) -> Features {
        match self.dtype {
            Dtype::U8 => Features::U8(self.bytes.clone()),
            _ => Features::F32(self.to_f32()),
        }
    }

    /// The number of rows, and the shape of one row.
    fn rows(&self, what: &str) -> Result<(usize, Shape)> {
        let lengths = |dims: &[usize]| dims.iter().map(|&d| u32::try_from(d).ok()).collect::<Option<Vec<u32>>>();
        let split = self.shape.split_first();
        let shape = split.and_then(|(&rows, dims)| Some((rows, Shape::try_from(&lengths(dims)?[..]).ok()?)));
        shape.ok_or_else(|| {
            Error::shape(format!("NumPy array of {what}"), "rows of at most 5 dimensions", format!("{:?}", self.shape))
        })
    }
}

/// Numbers of a Fortran array (first dimension innermost) in C order. It must not be empty.
fn c_order(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let strides = shape.iter().scan(size, |next, &length| Some(std::mem::replace(next, *next * length)));
    let mut ordered = Vec::with_capacity(bytes.len());
    let places = crate::ops::offsets(shape.iter().copied().zip(strides).collect());
    places.for_each(|at| ordered.extend_from_slice(&bytes[at..][..size]));
    ordered
}

impl Dataset {
    /// A data set from NumPy arrays: features \[rows, ...shape\], and labels \[rows\], \[rows, 1\], or one for each
    /// position, \[rows, ...positions\]. Feature `numpy`.
    ///
    /// Features of type uint8 are read as byte / 255; other numbers are used unchanged. The input is named "input",
    /// the target "output".
    ///
    /// ```
    /// use wgrad::{Dataset, NumpyArray};
    /// let features = NumpyArray::new(&[2, 3], &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5])?;
    /// let labels = NumpyArray::new(&[2], &[1.0, 0.0])?;
    /// assert_eq!(Dataset::from_arrays(&features, &labels, 2)?.labels(), [1, 0]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Shape`] if the arrays have different numbers of rows, a shape that a data set cannot have, or a
    ///   label that is no whole number.
    /// - [`Error::LabelOutOfRange`] for the first label not below `classes`.
    /// - [`Error::NonFiniteFeature`] for the first NaN or infinity.
    pub fn from_arrays(features: &NumpyArray, labels: &NumpyArray, classes: u32) -> Result<Self> {
        let ((rows, shape), (others, positions)) = (features.rows("features")?, labels.rows("labels")?);
        check_rows("labels", rows, others)?;
        let positions = if positions[..] == [1] { Shape::of(&[]) } else { positions };
        let data = Self::of_rows(rows).input("input", features.to_features(), shape);
        data.positions("output", labels.to_labels()?, positions, classes).build()
    }

    /// A data set from NumPy arrays with numbers as targets: features \[rows, ...shape\] and targets \[rows\] or
    /// \[rows, ...shape\]. Feature `numpy`. Otherwise as [`from_arrays`](Self::from_arrays).
    ///
    /// # Errors
    /// As [`from_arrays`](Self::from_arrays), and [`Error::NonFiniteTarget`] for the first NaN or infinity.
    pub fn from_array_targets(features: &NumpyArray, targets: &NumpyArray) -> Result<Self> {
        let ((rows, shape), (others, of_target)) = (features.rows("features")?, targets.rows("targets")?);
        check_rows("targets", rows, others)?;
        let of_target = if of_target.is_empty() { Shape::of(&[1]) } else { of_target };
        let data = Self::of_rows(rows).input("input", features.to_features(), shape);
        data.targets("output", targets.to_f32(), of_target).build()
    }
}

fn check_rows(what: &str, expected: usize, got: usize) -> Result<()> {
    match expected == got {
        true => Ok(()),
        false => Err(Error::shape(
            format!("rows of the NumPy array of {what}"),
            format!("{expected}, as the features have"),
            got,
        )),
    }
}
