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

/* Status of a call. A call that does not return SCFF_OK has changed neither weights nor outputs. */
typedef enum {
    SCFF_OK = 0,
    SCFF_BAD_ARGUMENT,      /* a pointer is NULL, or a number is outside its documented range */
    SCFF_SCRATCH_TOO_SMALL, /* fewer bytes than the size function says */
    SCFF_BATCH_TOO_LARGE,   /* R is above the layer's max_rows: sums could overflow */
    SCFF_BAD_SIZE,          /* saved bytes: their number is not that of the layer */
    SCFF_BAD_VERSION,       /* saved bytes: another format version, or not written by scff_save */
    SCFF_BAD_MODEL,         /* saved bytes: a layer with other formats or another shape */
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

/* Shape and formats of a layer: constant, written by the exporter, in flash. */
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
    scff_pool_t pool;                 /* of the output */
    scff_pool_t readout_pool;         /* of the output, before the readout */
    /* choices */
    scff_rounding_t rounding;
    uint8_t stochastic;  /* 1: stochastic rounding of updates, one xorshift32 generator per row of weights */
    uint8_t makes_pairs; /* 1: the layer makes pairs from its input; 0: it takes a positive and a negative stream */
    uint8_t triangle;    /* 1: the output is relu(y - mean over units); 0: relu(y) */
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
    uint32_t weight_fracs;     /* 1: one scale per layer; C: one per unit */
    /* learning */
    int32_t theta_pos;                  /* thresholds of goodness, 5 fraction bits */
    int32_t theta_neg;
    int64_t penalty;                    /* penalty times P, 15 fraction bits */
    int32_t mean_factor;                /* 1 / C is about mean_factor * 2^-mean_shift; 15 bits */
    int32_t mean_shift;
    uint32_t learned_positions;         /* positions per sample that a batch learns from, 1..P */
    int32_t root_factor;                /* 1 / sqrt(F) is about root_factor * 2^-(15 + root_shift); 15 bits */
    int32_t root_shift;
    uint32_t max_rows;                  /* largest R whose sums fit the accumulators; 0: the layer cannot learn */
    uint32_t fingerprint;               /* hash of formats and shape; saved bytes must have the same */
} scff_layer_t;

/* Parameters of a forward pass; may be in flash. */
typedef struct {
    const int8_t *weight; /* [C][F], in the order of the kernel: channel, row, column */
    const int32_t *bias;  /* [C] */
} scff_params_t;

/* Parameters that learning changes; in RAM. */
typedef struct {
    int8_t *weight;   /* [C][F] */
    void *shadow;     /* [C][F] of int8_t, int16_t or int32_t as shadow_bits says; NULL where that is 0 */
    int32_t *bias;    /* [C] */
    uint32_t *states; /* [C], generators, never 0; NULL unless the layer is stochastic */
} scff_state_t;

/* scff_state_t, read only. */
typedef struct {
    const int8_t *weight;
    const void *shadow;
    const int32_t *bias;
    const uint32_t *states;
} scff_saved_t;

/* A rate_shift that changes no weights: the batch only runs forward. */
#define SCFF_FROZEN (-128)

/* One batch to learn from. */
typedef struct {
    const int8_t *x;        /* [N][n]: samples, or the positive stream where the layer takes two */
    const int8_t *second;   /* [N][n]: second views of the samples or NULL, or the negative stream */
    const uint8_t *chosen;  /* [R][P], 0: position left out; NULL: all positions (learned_positions = P) */
    uint32_t count;         /* N, 2..max_rows, or 2..max_rows / 2 where R = 2 N */
    uint32_t partner_shift; /* 1..N-1: the partner of sample k is (k + partner_shift) mod N */
    int32_t rate_shift;     /* learning rate 2^-rate_shift, -16..40, or SCFF_FROZEN */
} scff_batch_t;

/* ---- sizes ---- */

uint32_t scff_inputs(const scff_layer_t *layer);        /* n */
uint32_t scff_fan_in(const scff_layer_t *layer);        /* F */
uint32_t scff_positions(const scff_layer_t *layer);     /* P */
uint32_t scff_transmitted(const scff_layer_t *layer);   /* output values per sample */
uint32_t scff_feature_count(const scff_layer_t *layer); /* features per sample */

/* SCFF_ALIGNMENT: alignment of scratch, that of an int32_t: 4 bytes on most machines, 1 on AVR. */
typedef struct {
    uint8_t before;
    int32_t word;
} scff_aligned_t;
#define SCFF_ALIGNMENT offsetof(scff_aligned_t, word)

/* Check that scratch is not NULL, is aligned, and that scratch_bytes >= needed. */
scff_status_t scff_check_scratch(const void *scratch, size_t scratch_bytes, size_t needed);

/* Size of the scratch of scff_forward, in bytes. */
size_t scff_forward_scratch(const scff_layer_t *layer);

/*
 * Size of the scratch of scff_learn, in bytes.
 * @param count  N
 * @param second 1 if the batch has second views, else 0
 */
size_t scff_learn_scratch(const scff_layer_t *layer, uint32_t count, int second);

/* Size of a saved layer, in bytes. */
size_t scff_save_size(const scff_layer_t *layer);

/* ---- one layer ---- */

/*
 * Run the layer forward on one sample; where it makes pairs, on the pair of the sample with itself.
 * @param x       [n], int8, in the layer's input format
 * @param y       out: [scff_transmitted], int8 of transmitted_bits
 * @param scratch aligned to SCFF_ALIGNMENT, scratch_bytes >= scff_forward_scratch(layer)
 */
scff_status_t scff_forward(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *y,
                           void *scratch, size_t scratch_bytes);

/*
 * Compute the readout's features from a layer's output.
 * @param y        [scff_transmitted], from scff_forward
 * @param features out: [scff_feature_count], int8; must not overlap y
 */
scff_status_t scff_features(const scff_layer_t *layer, const int8_t *y, int8_t *features);

/*
 * Update the layer once from a batch.
 * @param y_pos   out: [N][scff_transmitted], int8, output of the positive pairs before the update; may be NULL
 * @param y_neg   out: the same of the negative pairs; may be NULL
 * @param scratch aligned to SCFF_ALIGNMENT, scratch_bytes >= scff_learn_scratch(layer, N, second views)
 */
scff_status_t scff_learn(const scff_layer_t *layer, const scff_state_t *state, const scff_batch_t *batch, int8_t *y_pos,
                         int8_t *y_neg, void *scratch, size_t scratch_bytes);

/* Seed the generators [C]; does nothing where the layer is not stochastic. */
void scff_seed(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed);

/* Draw initial weights, uniform within +-1 / sqrt(F), from a 32-bit seed, and set biases to 0. */
void scff_start(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed);

/* Requantise the weights [C][F] of the MVM from the shadow weights; does nothing where the layer has none. */
void scff_read_shadow(const scff_layer_t *layer, const scff_state_t *state);

/* ---- saving and loading ---- */

#define SCFF_SAVE_VERSION 1u

/*
 * Write a part of a saved layer: all that learning changes, a version, the layer's fingerprint and a CRC-32. The bytes
 * are the same on every machine. Parts may have any size, for example a page of flash; the state must not change
 * between them.
 * @param offset first byte of the part, offset + size <= scff_save_size(layer)
 * @param bytes  out: [size]
 */
scff_status_t scff_save(const scff_layer_t *layer, const scff_saved_t *state, size_t offset, uint8_t *bytes,
                        size_t size);

/*
 * Load a saved layer; the state changes only if every check passes.
 * @param bytes [size], size = scff_save_size(layer)
 */
scff_status_t scff_load(const scff_layer_t *layer, const scff_state_t *state, const uint8_t *bytes, size_t size);

/* CRC-32 (reflected 0xEDB88320, as in zlib) of bytes [size]; crc is 0, or the CRC of the preceding bytes. */
uint32_t scff_crc32(uint32_t crc, const uint8_t *bytes, size_t size);

/* ---- readout ----
 *
 * The readout is a dense layer of `units` = classes on the concatenated features, with shadow weights of 16 bits. It is
 * saved and loaded like other layers, and learns from labels, one sample at a time.
 */

/*
 * Classify one sample.
 * @param features [n], int8
 * @param logits   out: [C], int32, at the scale of the products
 * @return the first class with the largest logit, 0..C-1
 */
uint32_t scff_classify(const scff_layer_t *readout, scff_params_t params, const int8_t *features, int32_t *logits);

/*
 * Update the readout once from a labelled sample.
 * @param features   [n], int8
 * @param label      0..C-1
 * @param rate_shift learning rate 2^-rate_shift, -16..40
 * @param logits     scratch: [C], int32; contains the errors afterwards
 */
scff_status_t scff_learn_readout(const scff_layer_t *readout, const scff_state_t *state, const int8_t *features,
                                 uint32_t label, int32_t rate_shift, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif /* SCFF_H */
