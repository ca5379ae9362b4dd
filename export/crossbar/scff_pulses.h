/*
 * scff_pulses.h - an update of a crossbar tile as pulse trains, in integers.
 *
 * C99 without floating point. All memory is the caller's.
 *
 * Each sample changes every weight of a tile by -rate x_j d_i. Rows (inputs) and columns (outputs) are pulsed in slots;
 * a device moves by one step if both of its lines are pulsed in the same slot.
 * Scheme: Gokmen and Vlasov, Front. Neurosci. 2016 (doi 10.3389/fnins.2016.00333), as in aihwkit 1.2.0.
 *
 * A code is an integer of -32767..32767; a number is code 2^exponent. Codes of one vector share their exponent.
 */
#ifndef SCFF_PULSES_H
#define SCFF_PULSES_H

#include <stdint.h>

typedef enum {
    SCFF_STOCHASTIC = 0, /* every slot of every line is drawn */
    SCFF_MEAN_COUNT = 1  /* round(slots p) pulses per line: rows in the first slots, columns spread evenly */
} scff_scheme_t;

/* One tile. A number of mantissa m and shift s is m 2^-s, with m in 32768..65535. */
typedef struct {
    uint32_t rows;             /* input lines, 1.. */
    uint32_t columns;          /* output lines, or pairs of lines; 1.. */
    uint32_t max_pulses;       /* slots of the longest train, 1..10000 */
    scff_scheme_t scheme;
    uint8_t update_management; /* 1: probabilities depend on the largest input and error */
    uint8_t pulse_management;  /* 1: trains as short as the update allows */
    uint32_t gain_mantissa;    /* gain: steps for an input of 1 and an error of 1, */
    int32_t gain_shift;        /*   learning rate / (scale of the tile * step of a device); -250..250 */
    uint32_t row_root_mantissa; /* without update management: sqrt(gain scale / max_pulses) */
    int32_t row_root_shift;
    uint32_t column_root_mantissa; /* without update management: sqrt(gain / (scale max_pulses)) */
    int32_t column_root_shift;
    uint32_t seed;             /* of the lines' generators, any 32 bits */
} scff_pulse_tile_t;

/* Number of lines. Lines are numbered rows first, then columns. */
#define SCFF_PULSE_LINES(tile) ((tile)->rows + (tile)->columns)

/* 32-bit words per train. */
#define SCFF_PULSE_WORDS(tile) (((tile)->max_pulses + 31u) / 32u)

/*
 * Initialise the generators from the tile's seed.
 * @param states out: [SCFF_PULSE_LINES], stored by the caller between updates
 */
void scff_pulses_init(const scff_pulse_tile_t *tile, uint32_t *states);

/*
 * Compute errors from post-activations: the sum of gains[t] y[t][column] over t, as codes for scff_pulses. A rule such
 * as SCFF multiplies each post-activation by one gain, a function of goodness; there is one term per pair of the sample.
 * @param y     [terms][columns], codes of post-activations
 * @param gains [terms], codes
 * @param terms 1..1024
 * @param codes out: [columns], codes of errors, rounded to the nearest, halves away from 0
 * @return exponent of `codes` minus exponent of the product of a code of y and a code of gains, 0..26
 */
int32_t scff_pulse_errors(const int16_t *y, const int16_t *gains, uint32_t terms, uint32_t columns, int16_t *codes);

/*
 * Compute the pulse trains of one sample.
 * @param states     [SCFF_PULSE_LINES], generators; unchanged if the result is 0
 * @param x          [rows], codes of inputs
 * @param x_exponent -1000..1000
 * @param d          [columns], codes of errors
 * @param d_exponent -1000..1000; decreasing it by 1 halves the learning rate
 * @param trains     out: [SCFF_PULSE_LINES][SCFF_PULSE_WORDS]; slot k is bit k % 32 of word k / 32, unused slots are 0
 * @param signs      out: [SCFF_PULSE_LINES], polarity of a line's pulses, 0 for a line without pulses. A device steps
 *                   up if the product of its row's and its column's sign is 1, down if it is -1. In a pair of one-sided
 *                   devices, up is a pulse on the positive device, down a pulse on the negative device.
 * @return number of slots, 0..max_pulses; 0: there are no pulses
 */
uint32_t scff_pulses(const scff_pulse_tile_t *tile, uint32_t *states, const int16_t *x, int32_t x_exponent,
                     const int16_t *d, int32_t d_exponent, uint32_t *trains, int8_t *signs);

#endif
