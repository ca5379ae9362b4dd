/*
 * scff.h - learning and inference of SCFF layers in integers.
 *
 * Every function gives, bit for bit, the integers of the specification of scff-hw's `fixed` backend: an integer q of a
 * tensor means q * 2^-frac, formats are symmetric (b bits hold -(2^(b-1) - 1) to 2^(b-1) - 1), and whatever could leave
 * its format saturates.
 *
 * C99 without floating point, libm, malloc, variable-length arrays or recursion. All memory is the caller's; functions
 * keep no state of their own, so layers may be used from several threads as long as each has its own buffers.
 *
 * Names of dimensions:
 *   N  samples of a batch               R  rows of the MVM: N, or 2 N with second views or two streams
 *   C  units, or channels of a convolution      P  positions of a layer's output, 1 where dense
 *   F  fan-in: inputs of one unit               n  inputs of a sample, channels x height x width
 */
#ifndef SCFF_H
#define SCFF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a function did. Anything but SCFF_OK changed neither weights nor outputs. */
typedef enum {
    SCFF_OK = 0,
    SCFF_BAD_ARGUMENT,      /* a pointer is NULL, or a number is outside its documented range */
    SCFF_SCRATCH_TOO_SMALL, /* fewer bytes than the size function says */
    SCFF_BATCH_TOO_LARGE,   /* R is above the layer's max_rows: sums could overflow */
    SCFF_BAD_SIZE,          /* saved bytes: not as many as the layer has */
    SCFF_BAD_VERSION,       /* saved bytes: another format version, or not saved by scff_save at all */
    SCFF_BAD_MODEL,         /* saved bytes: of a layer with other formats or another shape */
    SCFF_BAD_CRC,           /* saved bytes: damaged */
    SCFF_SCRATCH_UNALIGNED  /* scratch does not begin at a multiple of SCFF_ALIGNMENT */
} scff_status_t;

/* Rounding of every right shift by s > 0. */
typedef enum {
    SCFF_HALF_EVEN = 0, /* (x + (1 << (s-1)) - 1 + ((x >> s) & 1)) >> s   as PyTorch, Brevitas, onnxruntime */
    SCFF_HALF_UP = 1    /* (x + (1 << (s-1))) >> s                        as CMSIS-NN's single rounding */
} scff_rounding_t;

typedef enum { SCFF_NO_POOL = 0, SCFF_MAX_POOL = 1, SCFF_AVERAGE_POOL = 2 } scff_pool_kind_t;

/* A square pooling window over [channels][height][width]. */
typedef struct {
    scff_pool_kind_t kind;
    uint32_t size;       /* 1..1024 */
    uint32_t stride;     /* 1..1024 */
    uint32_t padding;    /* 0..size/2; an average counts padded zeros */
    uint32_t out_height; /* rows of windows */
    uint32_t out_width;  /* windows in a row */
} scff_pool_t;

/* One layer's shape and formats: constant, made by the exporter, kept in flash. */
typedef struct {
    /* geometry */
    uint32_t channels;                /* of the input; a dense layer has channels = n, height = width = 1 */
    uint32_t height;
    uint32_t width;
    uint32_t units;                   /* C, 2..1 000 000 */
    uint32_t kernel;                  /* height and width of the kernels; 0: dense */
    uint32_t padding;                 /* by reflection, less than height and width */
    uint32_t out_height;              /* of the pre-activations; P = out_height * out_width */
    uint32_t out_width;
    scff_pool_t pool;                 /* of what is passed on */
    scff_pool_t readout_pool;         /* once more, in front of the readout */
    /* choices */
    scff_rounding_t rounding;
    uint8_t stochastic;  /* 1: updates are rounded at random, by one xorshift32 a row of weights */
    uint8_t makes_pairs; /* 1: pairs are made at this layer's input; 0: it takes a positive and a negative stream */
    uint8_t triangle;    /* 1: the mean over units is subtracted before what is passed on is rectified */
    /* formats: bits with the sign, and fraction bits */
    uint8_t weight_bits;       /* 2..8 */
    uint8_t shadow_bits;       /* 0 (none), 8, 16 or 32 */
    uint8_t standardised_bits; /* 4..8 */
    uint8_t output_bits;       /* 4..8 */
    uint8_t transmitted_bits;  /* 4..8 */
    uint8_t error_bits;        /* 4..16 */
    uint8_t feature_bits;      /* 8 */
    int8_t standardised_frac;
    int8_t pre_activation_frac;
    int8_t output_frac;
    int8_t transmitted_frac;
    int8_t error_frac;
    int8_t feature_frac;
    const int8_t *weight_frac; /* [weight_fracs] */
    uint32_t weight_fracs;     /* 1: one scale for the layer; C: one a unit */
    /* learning */
    int32_t theta_pos;                  /* thresholds of goodness, 5 fraction bits */
    int32_t theta_neg;
    int64_t penalty;                    /* penalty times P, 15 fraction bits */
    int32_t mean_factor;                /* 1 / C is about mean_factor * 2^-mean_shift; 15 bits */
    int32_t mean_shift;
    uint32_t learned_positions;         /* positions that a batch learns from, 1..P */
    int32_t root_factor;                /* 1 / sqrt(F) is about root_factor * 2^-(15 + root_shift); 15 bits */
    int32_t root_shift;
    uint32_t max_rows;                  /* largest R whose sums fit their accumulators; 0: not made to learn */
    uint32_t fingerprint;               /* of formats and shape: what saved bytes must agree with */
} scff_layer_t;

/* What a forward pass reads: may lie in flash. */
typedef struct {
    const int8_t *weight; /* [C][F], in the order of the kernel: channel, row, column */
    const int32_t *bias;  /* [C] */
} scff_params_t;

/* What learning changes: in RAM. */
typedef struct {
    int8_t *weight;   /* [C][F] */
    void *shadow;     /* [C][F] of int8_t, int16_t or int32_t as shadow_bits says; NULL where that is 0 */
    int32_t *bias;    /* [C] */
    uint32_t *states; /* [C], generators, never 0; NULL unless the layer is stochastic */
} scff_state_t;

/* The same, only read. */
typedef struct {
    const int8_t *weight;
    const void *shadow;
    const int32_t *bias;
    const uint32_t *states;
} scff_saved_t;

/* A rate_shift that changes no weights: the batch is only passed on. */
#define SCFF_FROZEN (-128)

/* One batch to learn from. */
typedef struct {
    const int8_t *x;        /* [N][n]: samples; where pairs are passed, the positive stream */
    const int8_t *second;   /* [N][n]: where pairs are made, second views of the samples or NULL; else the negative stream */
    const uint8_t *chosen;  /* [R][P], 0: not learned from; NULL: all positions are, which learned_positions must be */
    uint32_t count;         /* N, 2..max_rows, where R is 2 N half of that */
    uint32_t partner_shift; /* where pairs are made: sample k is paired with (k + partner_shift) mod N; 1..N-1 */
    int32_t rate_shift;     /* learning rate 2^-rate_shift, -16..40, or SCFF_FROZEN */
} scff_batch_t;

/* ---- sizes ---- */

uint32_t scff_inputs(const scff_layer_t *layer);        /* n */
uint32_t scff_fan_in(const scff_layer_t *layer);        /* F */
uint32_t scff_positions(const scff_layer_t *layer);     /* P */
uint32_t scff_transmitted(const scff_layer_t *layer);   /* values passed on, a sample */
uint32_t scff_feature_count(const scff_layer_t *layer); /* values the readout reads of this layer, a sample */

/* What scratch must be aligned to: as an int32_t is, 4 bytes on most machines, 1 on AVR. */
typedef struct {
    uint8_t before;
    int32_t word;
} scff_aligned_t;
#define SCFF_ALIGNMENT offsetof(scff_aligned_t, word)

/* SCFF_OK where scratch of scratch_bytes will do for `needed` bytes; NULL is a bad argument. */
scff_status_t scff_check_scratch(const void *scratch, size_t scratch_bytes, size_t needed);

/* Bytes of scratch that scff_forward needs. */
size_t scff_forward_scratch(const scff_layer_t *layer);

/* Bytes of scratch that scff_learn needs for N samples; second: 1 if the batch has second views (made pairs). */
size_t scff_learn_scratch(const scff_layer_t *layer, uint32_t count, int second);

/* Bytes that scff_save writes. */
size_t scff_save_size(const scff_layer_t *layer);

/* ---- one layer ---- */

/*
 * What one plain sample gives: as a pair with itself where the layer makes its pairs.
 *   x       [n], int8, in the layer's input format
 *   y       [scff_transmitted], int8 of transmitted_bits
 *   scratch aligned as an int32_t, scratch_bytes >= scff_forward_scratch(layer)
 */
scff_status_t scff_forward(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *y,
                           void *scratch, size_t scratch_bytes);

/*
 * What the readout sees of what one sample passed on.
 *   y        [scff_transmitted], of scff_forward
 *   features [scff_feature_count], int8; may not overlap y
 */
scff_status_t scff_features(const scff_layer_t *layer, const int8_t *y, int8_t *features);

/*
 * Learn once from a batch.
 *   y_pos, y_neg [N][scff_transmitted], int8: what is passed on of the positive and the negative pairs, from before the
 *                change; either may be NULL
 *   scratch      aligned as an int32_t, scratch_bytes >= scff_learn_scratch(layer, N, second views)
 */
scff_status_t scff_learn(const scff_layer_t *layer, const scff_state_t *state, const scff_batch_t *batch, int8_t *y_pos,
                         int8_t *y_neg, void *scratch, size_t scratch_bytes);

/* First states of the generators [C] from a 32-bit seed; does nothing for a layer that is not stochastic. */
void scff_seed(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed);

/* Random first weights from a 32-bit seed, uniform within 1 / sqrt(F), and biases of 0: to learn from nothing. */
void scff_start(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed);

/* Weights [C][F] as the MVM reads them, made anew from the shadow; does nothing for a layer that has none. */
void scff_read_shadow(const scff_layer_t *layer, const scff_state_t *state);

/* ---- keeping what was learned ---- */

#define SCFF_SAVE_VERSION 1u

/*
 * Everything that learning changes, with a version, the layer's fingerprint and a CRC-32; the same bytes on every machine.
 * Written in parts of any size, a page of flash at a time for example; the state must not change between them.
 *   offset of the part, offset + size <= scff_save_size(layer)
 *   bytes  [size]
 */
scff_status_t scff_save(const scff_layer_t *layer, const scff_saved_t *state, size_t offset, uint8_t *bytes,
                        size_t size);

/* The reverse. The state is changed only where every check passed. size must be scff_save_size(layer). */
scff_status_t scff_load(const scff_layer_t *layer, const scff_state_t *state, const uint8_t *bytes, size_t size);

/* CRC-32 (reflected 0xEDB88320, as in zlib) of bytes [size]; `crc` is 0, or that of the bytes before them. */
uint32_t scff_crc32(uint32_t crc, const uint8_t *bytes, size_t size);

/* ---- readout ----
 *
 * A dense layer too, of `units` = classes on all the features side by side, with a shadow of 16 bits: it is saved, loaded and
 * read as layers are, and learns from labels, one sample at a time.
 */

/*
 * Logits of one sample and its class, the first of the largest.
 *   features [n], int8
 *   logits   [C], int32, at the scale of the products
 *   returns  0..C-1
 */
uint32_t scff_classify(const scff_layer_t *readout, scff_params_t params, const int8_t *features, int32_t *logits);

/*
 * Learn once from a labelled sample.
 *   features   [n], int8
 *   label      0..C-1
 *   rate_shift learning rate 2^-rate_shift, -16..40
 *   logits     [C], scratch; holds errors afterwards
 */
scff_status_t scff_learn_readout(const scff_layer_t *readout, const scff_state_t *state, const int8_t *features,
                                 uint32_t label, int32_t rate_shift, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif /* SCFF_H */
