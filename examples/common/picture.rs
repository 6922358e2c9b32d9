//! Reads image files for a network, and writes sheets of images (SVG).

use std::fmt::Write;
use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use image::imageops::{self, FilterType};
use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbImage,
};

use super::{Result, write_file};

/// Width and height of an MNIST digit.
const DIGIT: u32 = 28;
/// Width and height of the box that holds the digit in MNIST's images.
const INK_BOX: u32 = 20;

/// Reads a PNG or JPEG image and scales it to this size. Returns red, green and blue of each pixel, row by row.
pub fn load_rgb(path: &Path, width: u32, height: u32) -> Result<Vec<u8>> {
    let picture = DynamicImage::from(open(path)?);
    Ok(picture.resize_exact(width, height, FilterType::Lanczos3).into_rgb8().into_raw())
}

/// Reads a PNG or JPEG image. Scales it down if a side is longer than `side` pixels.
pub fn load_at_most(path: &Path, side: u32) -> Result<RgbImage> {
    let picture = DynamicImage::from(open(path)?);
    let larger = picture.width().max(picture.height()) > side;
    Ok(if larger { picture.resize(side, side, FilterType::Lanczos3) } else { picture }.into_rgb8())
}

/// Reads a PNG or JPEG image of one digit and converts it to MNIST's form. The image may have any size, and the digit
/// may be darker or lighter than its background. Returns 28x28 grey pixels: a light digit on black, scaled to fit
/// 20x20 pixels, with its centre of mass in the middle.
pub fn load_digit(path: &Path) -> Result<Vec<u8>> {
    let grey = DynamicImage::from(open(path)?).into_luma8();
    digit(grey).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn digit(mut grey: GrayImage) -> Result<Vec<u8>> {
    // Averages the noise of a photo.
    if grey.width().max(grey.height()) > 256 {
        grey = DynamicImage::from(grey).resize(256, 256, FilterType::Triangle).into_luma8();
    }
    let ink = ink(grey)?;
    let inked = || ink.enumerate_pixels().filter(|(.., p)| p[0] > 0).map(|(x, y, _)| (x, y));
    let bounds = |values: &mut dyn Iterator<Item = u32>| values.fold((u32::MAX, 0), |(a, b), v| (a.min(v), b.max(v)));
    let (left, right) = bounds(&mut inked().map(|p| p.0));
    let (top, bottom) = bounds(&mut inked().map(|p| p.1));
    let cropped = imageops::crop_imm(&ink, left, top, right - left + 1, bottom - top + 1).to_image();
    let scaled = DynamicImage::from(cropped).resize(INK_BOX, INK_BOX, FilterType::CatmullRom).into_luma8();

    let (mut mass, mut x_moment, mut y_moment) = (0.0, 0.0, 0.0);
    for (x, y, p) in scaled.enumerate_pixels() {
        mass += f64::from(p[0]);
        x_moment += f64::from(p[0]) * f64::from(x);
        y_moment += f64::from(p[0]) * f64::from(y);
    }
    // MNIST's images have the centre of mass at pixel 14 of 0 to 27.
    let place = |moment: f64, size: u32| ((14.0 - moment / mass).round() as i64).clamp(0, (DIGIT - size).into());
    let mut digit = GrayImage::new(DIGIT, DIGIT);
    let (x, y) = (place(x_moment, scaled.width()), place(y_moment, scaled.height()));
    imageops::replace(&mut digit, &scaled, x, y);
    Ok(stretched(digit).into_raw())
}

/// The digit alone, light on black: the difference between each pixel and the background around it. The border shows
/// whether the background is lighter or darker than the digit.
fn ink(mut grey: GrayImage) -> Result<GrayImage> {
    let (right, bottom) = (grey.width() - 1, grey.height() - 1);
    let border = grey.enumerate_pixels().filter(|&(x, y, _)| x == 0 || y == 0 || x == right || y == bottom);
    let mut border: Vec<u8> = border.map(|(.., p)| p[0]).collect();
    border.sort_unstable();
    let darkest = grey.pixels().map(|p| p[0]).min().unwrap_or(0);
    let lightest = grey.pixels().map(|p| p[0]).max().unwrap_or(0);
    if border[border.len() / 2] < u8::midpoint(darkest, lightest) {
        imageops::invert(&mut grey);
    }
    // The background with its shadows: a morphological closing removes dark parts narrower than a third of the image.
    let radius = grey.width().max(grey.height()) / 6 + 1;
    let paper = extreme(&extreme(&grey, radius, u8::max), radius, u8::min);
    let mut ink = GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        image::Luma([paper.get_pixel(x, y)[0].saturating_sub(grey.get_pixel(x, y)[0])])
    });
    let strongest = ink.pixels().map(|p| p[0]).max().unwrap_or(0);
    if strongest < 48 {
        let got = format!("brightness {darkest} to {lightest} of 0 to 255");
        return Err(format!("no digit found: expected a digit that differs from its background, got {got}").into());
    }
    // Weaker values come from shadows and noise.
    ink.pixels_mut().filter(|p| p[0] < strongest / 4).for_each(|p| p[0] = 0);
    Ok(ink)
}

/// The largest or the smallest value within a distance of each pixel, horizontally and vertically.
fn extreme(grey: &GrayImage, radius: u32, pick: fn(u8, u8) -> u8) -> GrayImage {
    let (width, height) = grey.dimensions();
    let near = |at: u32, size: u32| at.saturating_sub(radius)..(at + radius + 1).min(size);
    let of = |values: &mut dyn Iterator<Item = u8>| image::Luma([values.reduce(pick).unwrap_or(0)]);
    let rows = GrayImage::from_fn(width, height, |x, y| of(&mut near(x, width).map(|x| grey.get_pixel(x, y)[0])));
    GrayImage::from_fn(width, height, |x, y| of(&mut near(y, height).map(|y| rows.get_pixel(x, y)[0])))
}

/// Scales the values so that the lightest pixel is 255.
fn stretched(mut grey: GrayImage) -> GrayImage {
    let lightest = grey.pixels().map(|p| p[0]).max().unwrap_or(0).max(1);
    grey.pixels_mut().for_each(|p| p[0] = (u32::from(p[0]) * 255 / u32::from(lightest)) as u8);
    grey
}

/// Opens an image file, applies its orientation, and puts transparent pixels on white.
fn open(path: &Path) -> Result<RgbImage> {
    let decode = || -> Result<_> {
        let file = std::fs::read(path)?;
        let reader = ImageReader::new(Cursor::new(&file)).with_guessed_format()?;
        if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_ends(&file) {
            return Err("it is a JPEG file that was cut short".into());
        }
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    let fault = |e: Box<dyn std::error::Error>| format!("cannot read the image {}: {e}", path.display());
    let picture = decode().map_err(|e| fault(e).trim_end().to_owned())?.into_rgba8();
    Ok(RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        image::Rgb([r, g, b].map(|c| ((c * alpha + 255 * (255 - alpha)) / 255) as u8))
    }))
}

/// Whether a JPEG file has its end marker. The decoder fills missing parts with grey, without an error.
fn jpeg_ends(file: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    const END: u8 = 0xd9;
    // Skips the segments before the scan: they may contain a thumbnail with an end marker of its own.
    let mut rest = file.get(2..).unwrap_or_default();
    while let &[0xff, marker, high, low, ..] = rest
        && marker != SCAN
    {
        rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    rest.windows(2).any(|two| two == [0xff, END])
}

/// An image of a sheet.
pub struct Tile {
    /// Row by row: one grey byte per pixel, or three bytes of red, green and blue.
    pub pixels: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// Text below the image; may have several lines.
    pub caption: String,
    /// Colour of the frame, if there is one.
    pub frame: Option<&'static str>,
}

/// Writes an SVG sheet of images with their captions.
pub fn write_sheet(path: &Path, title: &str, tiles: &[Tile], columns: usize) -> Result<()> {
    const GAP: usize = 14;
    const LINE: usize = 17;
    const HEAD: usize = 56;
    // An integer zoom keeps all pixels the same size.
    let zoom = |tile: &Tile| (128 / tile.width.max(tile.height).max(1)).max(1) as usize;
    let size = |tile: &Tile| (tile.width as usize * zoom(tile), tile.height as usize * zoom(tile));
    let most = |of: &dyn Fn(&Tile) -> usize| tiles.iter().map(of).max().unwrap_or(0);
    // The font is unknown here: a letter's width is about 0.55 of the font size.
    let letters = |text: &str, size: usize| text.chars().count() * size * 55 / 100;
    let (image_width, image_height) = (most(&|t| size(t).0), most(&|t| size(t).1));
    let cell_width = image_width.max(most(&|t| t.caption.lines().map(|l| letters(l, 14)).max().unwrap_or(0))) + GAP;
    let cell_height = image_height + most(&|t| t.caption.lines().count()) * LINE + GAP + 6;
    let columns = columns.clamp(1, tiles.len().max(1));
    let width = (columns * cell_width).max(letters(title, 20)) + 2 * GAP;
    let height = HEAD + tiles.len().div_ceil(columns) * cell_height + GAP;

    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' \
         font-family='sans-serif' font-size='14' text-anchor='middle' fill='#333'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='{}' y='34' font-size='20'>{}</text>\n",
        width / 2,
        escaped(title)
    );
    for (i, tile) in tiles.iter().enumerate() {
        let url = png_data_url(&tile.pixels, tile.width, tile.height).map_err(|e| format!("image {i}: {e}"))?;
        let (w, h) = size(tile);
        let middle = (width - columns * cell_width) / 2 + i % columns * cell_width + cell_width / 2;
        let (x, y) = (middle - w / 2, HEAD + i / columns * cell_height);
        writeln!(
            svg,
            "<image x='{x}' y='{y}' width='{w}' height='{h}' style='image-rendering: pixelated' href='{url}'/>"
        )?;
        let (colour, weight) = tile.frame.map_or(("#333", "normal"), |colour| (colour, "bold"));
        if tile.frame.is_some() {
            let (x, y, w, h) = (x - 2, y - 2, w + 4, h + 4);
            writeln!(
                svg,
                "<rect x='{x}' y='{y}' width='{w}' height='{h}' fill='none' stroke='{colour}' stroke-width='4'/>"
            )?;
        }
        for (n, line) in tile.caption.lines().enumerate() {
            let (y, line) = (y + h + 3 + (n + 1) * LINE, escaped(line));
            writeln!(svg, "<text x='{middle}' y='{y}' fill='{colour}' font-weight='{weight}'>{line}</text>")?;
        }
    }
    write_file(path, svg + "</svg>\n")
}

/// Frame colours of wrong predictions and of target images: vermillion and blue of the palette of Okabe and Ito.
pub const MISTAKE: &str = "#d55e00";
pub const TARGET: &str = "#0072b2";

/// A PNG image as a data URL for SVG files. `pixels` has one grey byte or three RGB bytes per pixel.
pub fn png_data_url(pixels: &[u8], width: u32, height: u32) -> Result<String> {
    let grey = width as usize * height as usize;
    let colour = match pixels.len() {
        0 => return Err("the image has no pixel".into()),
        n if n == grey => ExtendedColorType::L8,
        n if n == grey * 3 => ExtendedColorType::Rgb8,
        n => {
            let expected = format!("{grey} bytes (grey) or {} (RGB)", grey * 3);
            return Err(format!("pixels of {width}x{height}: expected {expected}, got {n}").into());
        }
    };
    let png = encode_png(pixels, width, height, colour)?;
    Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png)))
}

/// Encodes pixels as a PNG file.
pub fn encode_png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Result<Vec<u8>> {
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png).write_image(pixels, width, height, colour)?;
    Ok(png)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
