#include "scff_pulses.h"

#define CERTAIN ((uint64_t)1 << 16) /* a probability of 1 */
#define STEP_BITS 32
#define LIMIT ((uint64_t)1 << 62)

/* The probability of a line as a function of its magnitude: min((magnitude * factor + half) / divisor, CERTAIN). */
typedef struct {
    uint64_t factor;
    uint64_t half;
    uint64_t divisor;
} ratio_t;

static uint64_t magnitude(int16_t code)
{
    int32_t wide = code;
    return (uint64_t)(uint32_t)((wide < 0) ? -wide : wide);
}

static uint64_t largest(const int16_t *codes, uint32_t count)
{
    uint64_t result = 0;
    for (uint32_t line = 0; line < count; line++) {
        uint64_t size = magnitude(codes[line]);
        result = (size > result) ? size : result;
    }
    return result;
}

static uint64_t isqrt(uint64_t x)
{
    uint64_t root = 0;
    uint64_t bit = (uint64_t)1 << 62;
    while (bit > x) {
        bit >>= 2;
    }
    while (bit != 0u) {
        if (x >= (root + bit)) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    return root;
}

/* value 2^left, rounded down, at most LIMIT; value < 2^47. */
static uint64_t shifted(uint64_t value, int32_t left)
{
    if (left < 0) {
        return (left < -63) ? 0u : (value >> (uint32_t)(-left));
    }
    if ((left > 62) || (value > (LIMIT >> (uint32_t)left))) {
        return (value == 0u) ? 0u : LIMIT;
    }
    return value << (uint32_t)left;
}

/* magnitude * mantissa 2^(exponent - shift), as a ratio. */
static ratio_t times_root(uint32_t mantissa, int32_t shift, int32_t exponent)
{
    ratio_t ratio = { mantissa, 0u, 1u };
    int32_t left = 16 - shift + exponent;
    if (left >= 0) {
        ratio.factor <<= (uint32_t)((left > 20) ? 20 : left);
    } else {
        ratio.divisor = (uint64_t)1 << (uint32_t)((left < -40) ? 40 : -left);
        ratio.half = ratio.divisor >> 1;
    }
    return ratio;
}

/* The number of slots of this update, and the ratios of probabilities to magnitudes. */
static uint32_t plan(const scff_pulse_tile_t *tile, uint64_t x_max, int32_t x_exponent, uint64_t d_max,
                     int32_t d_exponent, ratio_t *rows, ratio_t *columns)
{
    if ((x_max == 0u) || (d_max == 0u)) {
        return 0;
    }
    if (tile->update_management == 0u) {
        *rows = times_root(tile->row_root_mantissa, tile->row_root_shift, x_exponent);
        *columns = times_root(tile->column_root_mantissa, tile->column_root_shift, d_exponent);
        return tile->max_pulses;
    }
    uint64_t steps = shifted(x_max * d_max * tile->gain_mantissa, STEP_BITS - tile->gain_shift + x_exponent + d_exponent);
    if (steps == 0u) {
        return 0;
    }
    uint64_t max_steps = (uint64_t)tile->max_pulses << STEP_BITS;
    uint64_t limited = (steps < max_steps) ? steps : max_steps;
    uint32_t slots = tile->max_pulses;
    if ((tile->pulse_management != 0u) && (steps < max_steps)) {
        slots = (uint32_t)((steps + (((uint64_t)1 << STEP_BITS) - 1u)) >> STEP_BITS);
    }
    uint64_t root = isqrt((limited << 16) / slots); /* 24 fraction bits, at most 1 */
    *rows = (ratio_t){ root, x_max << 7, x_max << 8 };
    *columns = (ratio_t){ root, d_max << 7, d_max << 8 };
    if (steps > max_steps) { /* the root is 1; errors above those of a full train saturate */
        *columns = (ratio_t){ (steps >> 16) / tile->max_pulses, d_max / 2u, d_max };
    }
    return slots;
}

static uint64_t probability(ratio_t ratio, int16_t code)
{
    uint64_t p = ((magnitude(code) * ratio.factor) + ratio.half) / ratio.divisor;
    return (p < CERTAIN) ? p : CERTAIN;
}

static void set_slot(uint32_t *train, uint32_t slot)
{
    train[slot / 32u] |= (uint32_t)1 << (slot % 32u);
}

/* Draw a train. Each new state of xorshift32 (13, 17, 5) gives two slots, the first from its lower half. */
static uint32_t draw_train(uint32_t state, uint64_t p, uint32_t slots, uint32_t *train)
{
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint32_t drawn = state >> 16;
        if ((slot % 2u) == 0u) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            drawn = state & 0xFFFFu;
        }
        if (drawn < p) {
            set_slot(train, slot);
        }
    }
    return state;
}

static void count_train(uint64_t p, uint32_t slots, uint8_t spread, uint32_t *train)
{
    uint64_t pulses = ((p * slots) + (CERTAIN / 2u)) / CERTAIN;
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint64_t before = ((2u * slot * pulses) + slots) / (2u * (uint64_t)slots);
        uint64_t after = ((2u * (slot + (uint64_t)1) * pulses) + slots) / (2u * (uint64_t)slots);
        if ((spread != 0u) ? (after > before) : (slot < pulses)) {
            set_slot(train, slot);
        }
    }
}

void scff_pulses_init(const scff_pulse_tile_t *tile, uint32_t *states)
{
    for (uint32_t line = 0; line < SCFF_PULSE_LINES(tile); line++) {
        uint32_t h = tile->seed + (line * 0x9E3779B9u);
        h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
        h = (h ^ (h >> 13)) * 0xC2B2AE35u;
        h ^= h >> 16;
        states[line] = (h != 0u) ? h : 1u;
    }
}

static int64_t weighted_sum(const int16_t *y, const int16_t *gains, uint32_t terms, uint32_t columns, uint32_t column)
{
    int64_t sum = 0;
    for (uint32_t term = 0; term < terms; term++) {
        sum += (int64_t)gains[term] * y[(term * columns) + column];
    }
    return sum;
}

int32_t scff_pulse_errors(const int16_t *y, const int16_t *gains, uint32_t terms, uint32_t columns, int16_t *codes)
{
    uint64_t max_size = 0;
    for (uint32_t column = 0; column < columns; column++) {
        int64_t sum = weighted_sum(y, gains, terms, columns, column);
        uint64_t size = (uint64_t)((sum < 0) ? -sum : sum);
        max_size = (size > max_size) ? size : max_size;
    }
    uint32_t shift = 0;
    while ((max_size >> shift) > 32767u) {
        shift += 1u;
    }
    for (uint32_t column = 0; column < columns; column++) {
        int64_t sum = weighted_sum(y, gains, terms, columns, column);
        uint64_t size = (uint64_t)((sum < 0) ? -sum : sum);
        size = (size + (((uint64_t)1 << shift) >> 1)) >> shift;
        size = (size > 32767u) ? 32767u : size;
        codes[column] = (int16_t)((sum < 0) ? -(int32_t)size : (int32_t)size);
    }
    return (int32_t)shift;
}

uint32_t scff_pulses(const scff_pulse_tile_t *tile, uint32_t *states, const int16_t *x, int32_t x_exponent,
                     const int16_t *d, int32_t d_exponent, uint32_t *trains, int8_t *signs)
{
    ratio_t rows = { 0u, 0u, 1u };
    ratio_t columns = { 0u, 0u, 1u };
    uint32_t words = SCFF_PULSE_WORDS(tile);
    uint32_t slots = plan(tile, largest(x, tile->rows), x_exponent, largest(d, tile->columns), d_exponent, &rows, &columns);
    for (uint32_t line = 0; line < SCFF_PULSE_LINES(tile); line++) {
        uint8_t column = (uint8_t)(line >= tile->rows);
        int16_t code = (column == 0u) ? x[line] : d[line - tile->rows];
        uint32_t *train = &trains[line * words];
        for (uint32_t word = 0; word < words; word++) {
            train[word] = 0u;
        }
        signs[line] = 0;
        if (slots == 0u) {
            continue;
        }
        if (code != 0) { /* gradient descent: a column's polarity is that of minus its error */
            signs[line] = ((code > 0) == (column == 0u)) ? 1 : -1;
        }
        uint64_t p = probability((column == 0u) ? rows : columns, code);
        if (tile->scheme == SCFF_STOCHASTIC) {
            states[line] = draw_train(states[line], p, slots, train);
        } else {
            count_train(p, slots, column, train);
        }
    }
    return slots;
}
