// A product whose A is not stored: row p of it holds what the taps of a convolution's kernel see at position p.
// Constants, as the compiler then makes multiplications of the divisions. src/ops/matmul/window.rs says what they are.

override CHANNELS: u32 = 1; // of what is read, [batch, HEIGHT, WIDTH, CHANNELS]
override GROUPS: u32 = 1; // each of as many channels; a column of C sees those of its own group
override GROUP_CHANNELS: u32 = CHANNELS / GROUPS;
override HEIGHT: u32 = 1;
override WIDTH: u32 = 1;
override OUT_ROWS: u32 = 1; // positions
override OUT_COLUMNS: u32 = 1;
override TAP_ROWS: u32 = 1;
override TAP_COLUMNS: u32 = 1;
override DOWN_Y: u32 = 1; // the element of a tap: (position * DOWN + tap * STEP + FIRST) / UP
override DOWN_X: u32 = 1;
override UP_Y: u32 = 1;
override UP_X: u32 = 1;
override STEP_Y: i32 = 1;
override STEP_X: i32 = 1;
override FIRST_Y: i32 = 0;
override FIRST_X: i32 = 0;

// Whether B is that of the convolution the other way, [taps, n, CHANNELS] instead of [n, taps, CHANNELS].
override OTHER_WEIGHTS: bool = false;

const OUTSIDE: u32 = 0xffffffffu;

// What a column of A stands for: a tap, as its distance to a position's first element, and a channel.
struct Tap {
    y: i32,
    x: i32,
    channel: u32,
}

// What a row of A stands for: where the first tap's element lies, and the first row of the sample.
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

// Whether a tap sees an element at a position. A negative number becomes a large one, unless it is divided.
fn sees(position: Position, tap: Tap) -> bool {
    let y = position.y + tap.y;
    let x = position.x + tap.x;
    let is_row = (UP_Y == 1u || y >= 0) && u32(y) / UP_Y < HEIGHT && u32(y) % UP_Y == 0u;
    let is_column = (UP_X == 1u || x >= 0) && u32(x) / UP_X < WIDTH && u32(x) % UP_X == 0u;
    return is_row && is_column;
}

// Where that element lies in the tensor.
fn place_of(position: Position, tap: Tap) -> u32 {
    let row = position.image + u32(position.y + tap.y) / UP_Y;
    return (row * WIDTH + u32(position.x + tap.x) / UP_X) * CHANNELS + tap.channel;
}

fn seen_from(position: Position, tap: Tap) -> u32 {
    return select(OUTSIDE, place_of(position, tap), sees(position, tap));
}

fn seen_by(row: u32, tap: Tap) -> u32 {
    return seen_from(position_of(row), tap);
}

// The same for element `index` of A.
fn seen(index: u32) -> u32 {
    return seen_by(index / row_length(), tap_of(index % row_length()));
}

// Where element `index` of B as a product has it lies in the tensor.
fn weight(index: u32, n: u32) -> u32 {
    if !OTHER_WEIGHTS {
        return index;
    }
    let column = index % row_length();
    return (column / CHANNELS * n + index / row_length()) * CHANNELS + column % CHANNELS;
}
