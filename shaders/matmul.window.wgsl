// Implicit im2col: A of a convolution's matmul is not stored. Row p of A holds the inputs of the kernel at position p.
// The sizes are constants so that the compiler replaces divisions by multiplications. See src/ops/matmul/window.rs.

override CHANNELS: u32 = 1; // channels of the input, [batch, HEIGHT, WIDTH, CHANNELS]
override GROUPS: u32 = 1; // a column of C depends on the channels of its own group only
override GROUP_CHANNELS: u32 = CHANNELS / GROUPS;
override HEIGHT: u32 = 1;
override WIDTH: u32 = 1;
override OUT_ROWS: u32 = 1; // output positions
override OUT_COLUMNS: u32 = 1;
override TAP_ROWS: u32 = 1;
override TAP_COLUMNS: u32 = 1;
override DOWN_Y: u32 = 1; // input index of a tap = (position * DOWN + tap * STEP + FIRST) / UP
override DOWN_X: u32 = 1;
override UP_Y: u32 = 1;
override UP_X: u32 = 1;
override STEP_Y: i32 = 1;
override STEP_X: i32 = 1;
override FIRST_Y: i32 = 0;
override FIRST_X: i32 = 0;

// B is [taps, n, CHANNELS] instead of [n, taps, CHANNELS]: the weights of the transposed convolution.
override OTHER_WEIGHTS: bool = false;

const OUTSIDE: u32 = 0xffffffffu;

// A column of A: a tap, as an offset from the position's first element, and a channel. A tap is an element of the
// convolution kernel.
struct Tap {
    y: i32,
    x: i32,
    channel: u32,
}

// A row of A: the element of the first tap, and the sample's first row in the input.
struct Position {
    y: i32,
    x: i32,
    image: u32,
}

fn row_length() -> u32 {
    return TAP_ROWS * TAP_COLUMNS * GROUP_CHANNELS;
}

fn tap_of(column: u32) -> Tap {
    let tap = column / GROUP_CHANNELS;
    let y = i32(tap / TAP_COLUMNS) * STEP_Y + FIRST_Y;
    let x = i32(tap % TAP_COLUMNS) * STEP_X + FIRST_X;
    return Tap(y, x, column % GROUP_CHANNELS);
}

fn position_of(row: u32) -> Position {
    let y = i32(row / OUT_COLUMNS % OUT_ROWS * DOWN_Y);
    return Position(y, i32(row % OUT_COLUMNS * DOWN_X), row / (OUT_ROWS * OUT_COLUMNS) * HEIGHT);
}

// Whether the tap reads an element inside the image. Negative numbers wrap to large ones, except before a division.
fn is_inside(position: Position, tap: Tap) -> bool {
    let y = position.y + tap.y;
    let x = position.x + tap.x;
    let is_row = (UP_Y == 1u || y >= 0) && u32(y) / UP_Y < HEIGHT && u32(y) % UP_Y == 0u;
    let is_column = (UP_X == 1u || x >= 0) && u32(x) / UP_X < WIDTH && u32(x) % UP_X == 0u;
    return is_row && is_column;
}

// Index of the element in the input tensor.
fn input_index(position: Position, tap: Tap) -> u32 {
    let row = position.image + u32(position.y + tap.y) / UP_Y;
    return (row * WIDTH + u32(position.x + tap.x) / UP_X) * CHANNELS + tap.channel;
}

fn index_of_tap(position: Position, tap: Tap) -> u32 {
    return select(OUTSIDE, input_index(position, tap), is_inside(position, tap));
}

fn index_at_row(row: u32, tap: Tap) -> u32 {
    return index_of_tap(position_of(row), tap);
}

// Index in the input tensor of element `index` of A, or OUTSIDE.
fn index_of_a(index: u32) -> u32 {
    return index_at_row(index / row_length(), tap_of(index % row_length()));
}

// Index in the weight tensor of element `index` of B.
fn weight_index(index: u32, n: u32) -> u32 {
    if !OTHER_WEIGHTS {
        return index;
    }
    let column = index % row_length();
    return (column / CHANNELS * n + index / row_length()) * CHANNELS + column % CHANNELS;
}
