/* An update of a crossbar tile as pulse trains, in integers. C99, no floating point, no memory of its own.
 *
 * Sample by sample, every weight of a tile is to change by -rate x_j d_i. Rows (inputs) and columns (outputs) are pulsed
 * in slots; a device moves by one step where both of its lines are pulsed in the same slot.
 * Scheme: Gokmen and Vlasov, Front. Neurosci. 2016 (doi 10.3389/fnins.2016.00333), as aihwkit 1.2.0 has it.
 */
#ifndef SCFF_PULSES_H
#define SCFF_PULSES_H

#include <stdint.h>

typedef enum {
    SCFF_STOCHASTIC = 0, /* every slot of every line is drawn */
    SCFF_MEAN_COUNT = 1  /* round(slots p) pulses a line: rows in the first slots, columns spread evenly */
} scff_scheme_t;

/* One tile. Numbers written as m 2^-s have a mantissa m in 32768..65535. */
typedef struct {
    uint32_t rows;             /* input lines, 1.. */
    uint32_t columns;          /* output lines, or pairs of lines; 1.. */
    uint32_t max_pulses;       /* slots of the longest train, 1..10000 */
    scff_scheme_t scheme;
    uint8_t update_management; /* 1: probabilities from the largest input and error */
    uint8_t pulse_management;  /* 1: trains as short as the update allows */
    uint32_t gain_mantissa;    /* gain: steps that an input of 1 and an error of 1 ask for, */
    int32_t gain_shift;        /*   learning rate / (scale of the tile, step of a device); -250..250 */
    uint32_t row_root_mantissa; /* without update management: root of gain times scale / max_pulses, */
    int32_t row_root_shift;
    uint32_t column_root_mantissa; /* and of gain / (scale max_pulses) */
    int32_t column_root_shift;
    uint32_t seed;             /* of the lines' generators */
} scff_pulse_tile_t;

/* Lines are numbered rows first, then columns: there are rows + columns of them. */
#define SCFF_PULSE_LINES(tile) ((tile)->rows + (tile)->columns)

/* 32-bit words of one line's train. */
#define SCFF_PULSE_WORDS(tile) (((tile)->max_pulses + 31u) / 32u)

/* Set the generators to their start.
 * states: [SCFF_PULSE_LINES], kept by the caller from one update to the next.
 */
void scff_pulses_init(const scff_pulse_tile_t *tile, uint32_t *states);

/* Errors from post-activations, the sum of m[t] y[t][column] over t, as codes for scff_pulses. A rule such as SCFF
 * multiplies each post-activation by one number that goodness gives; a sample that is in several pairs has a term for each.
 * y:      [terms][columns] codes of post-activations, -32767..32767.
 * m:      [terms] codes of modulations, -32767..32767. terms: 1..1024.
 * codes:  [columns], rounded to the nearest, halves away from 0.
 * Returns how much larger the exponent of codes is than that of a product of the two codes, 0..26.
 */
int32_t scff_pulse_errors(const int16_t *y, const int16_t *m, uint32_t terms, uint32_t columns, int16_t *codes);

/* The trains of one sample.
 * x:      [rows] codes of inputs, -32767..32767; an input is x 2^x_exponent. The exponent is in -1000..1000.
 * d:      [columns] codes of errors, likewise. Adding -1 to d_exponent halves the learning rate.
 * trains: [SCFF_PULSE_LINES][SCFF_PULSE_WORDS]; slot k is bit k % 32 of word k / 32. Slots not used are 0.
 * signs:  [SCFF_PULSE_LINES] polarity of a line's pulses, 0 where it has none. A device goes up where the product of its
 *         row's and its column's is 1, down where it is -1. In a pair of one-sided devices, up is a pulse on the positive
 *         device and down one on the negative.
 * Returns the number of slots, 0 where nothing is pulsed; the generators then stay.
 */
uint32_t scff_pulses(const scff_pulse_tile_t *tile, uint32_t *states, const int16_t *x, int32_t x_exponent,
                     const int16_t *d, int32_t d_exponent, uint32_t *trains, int8_t *signs);

#endif
