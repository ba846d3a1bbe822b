/* Instance norm, ReLU and 2 x 2 average pooling in one, forward and backward, image by image while it is in the cache.

   Images are channels last: x[image][row][column][channel]. A last odd row or column is left out by the pooling. With
   r = 1 / sqrt(variance + eps) and y = gain (x - mean) r + shift, a quarter of the gradient g of a pooled pixel reaches those
   of its four pixels whose y is positive: d. With sums over the N pixels of a channel, dL/dshift = sum d,
   dL/dgain = r sum d (x - mean), dL/dx = gain r (d - sum d / N - (x - mean) r dL/dgain / N). */

#include <math.h>
#include <stdint.h>

/* A number of channels that is known when this is compiled keeps a channel's sums in registers: a quarter faster. */
#define ALWAYS static inline __attribute__((always_inline))

/* What is not a number stays so: a diverged training must not look sound. */
static inline float positive(float y) { return y < 0 ? 0 : y; }

ALWAYS void forward_of(int64_t channels, const float *restrict x, const float *restrict gain, const float *restrict shift,
                       float eps, int64_t images, int64_t rows, int64_t columns, float *restrict pooled, float *restrict mean,
                       float *restrict r)
{
    const int64_t pixels = rows * columns, line = columns * channels;
    for (int64_t n = 0; n < images; n++, x += pixels * channels, mean += channels, r += channels) {
        for (int64_t c = 0; c < channels; c++) mean[c] = r[c] = 0;
        /* One pass for both moments, about the first pixel and not about zero: a large mean would cancel the variance. */
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < channels; c++) {
                const float distance = x[p * channels + c] - x[c];
                mean[c] += distance;
                r[c] += distance * distance;
            }
        for (int64_t c = 0; c < channels; c++) {
            const float moved = mean[c] / pixels;
            mean[c] = x[c] + moved;
            r[c] = 1 / sqrtf(positive(r[c] / pixels - moved * moved) + eps);
        }
        for (int64_t i = 0; i < rows / 2; i++)
            for (int64_t j = 0; j < columns / 2; j++, pooled += channels) {
                const float *restrict q = x + 2 * i * line + 2 * j * channels;
                for (int64_t c = 0; c < channels; c++) {
                    const float scale = gain[c] * r[c], offset = shift[c] - mean[c] * scale;
                    pooled[c] = 0.25f * (positive(q[c] * scale + offset) + positive(q[c + channels] * scale + offset)
                                         + positive(q[c + line] * scale + offset)
                                         + positive(q[c + line + channels] * scale + offset));
                }
            }
    }
}

ALWAYS void backward_of(int64_t channels, const float *restrict g, const float *restrict x, const float *restrict gain,
                        const float *restrict shift, const float *restrict mean, const float *restrict r, int64_t images,
                        int64_t rows, int64_t columns, float *restrict dx, float *restrict dgain, float *restrict dshift,
                        float *restrict sums)
{
    const int64_t pixels = rows * columns, line = columns * channels, wide = columns / 2, quads = (rows / 2) * wide;
    float *restrict flat = sums, *restrict along = sums + channels;
    for (int64_t n = 0; n < images; n++) {
        for (int64_t c = 0; c < channels; c++) flat[c] = along[c] = 0;
        for (int64_t i = 0; i < rows / 2; i++)
            for (int64_t j = 0; j < wide; j++) {
                const float *restrict q = x + 2 * i * line + 2 * j * channels, *restrict of = g + (i * wide + j) * channels;
                for (int64_t c = 0; c < channels; c++) {
                    const float scale = gain[c] * r[c], offset = shift[c] - mean[c] * scale;
                    const float x0 = q[c], x1 = q[c + channels], x2 = q[c + line], x3 = q[c + line + channels];
                    const float on0 = x0 * scale + offset > 0 ? 1 : 0, on1 = x1 * scale + offset > 0 ? 1 : 0;
                    const float on2 = x2 * scale + offset > 0 ? 1 : 0, on3 = x3 * scale + offset > 0 ? 1 : 0;
                    flat[c] += of[c] * (on0 + on1 + on2 + on3);
                    along[c] += of[c] * (on0 * (x0 - mean[c]) + on1 * (x1 - mean[c]) + on2 * (x2 - mean[c])
                                         + on3 * (x3 - mean[c]));
                }
            }
        for (int64_t c = 0; c < channels; c++) {
            const float slope = 0.25f * along[c] * r[c];
            dshift[c] += 0.25f * flat[c];
            dgain[c] += slope;
            flat[c] *= 0.25f / pixels;
            along[c] = slope * r[c] / pixels;
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                const int inside = i / 2 < rows / 2 && j / 2 < wide;
                const float *restrict q = x + i * line + j * channels;
                const float *restrict of = inside ? g + (i / 2 * wide + j / 2) * channels : g;
                float *restrict out = dx + i * line + j * channels;
                for (int64_t c = 0; c < channels; c++) {
                    const float scale = gain[c] * r[c], offset = shift[c] - mean[c] * scale;
                    out[c] = scale * ((inside && q[c] * scale + offset > 0 ? 0.25f * of[c] : 0) - flat[c] - (q[c] - mean[c]) * along[c]);
                }
            }
        x += pixels * channels, dx += pixels * channels, g += quads * channels, mean += channels, r += channels;
    }
}

#define FOR(channels, function, ...) \
    do switch (channels) { \
    case 32: function(32, __VA_ARGS__); break; \
    case 64: function(64, __VA_ARGS__); break; \
    default: function(channels, __VA_ARGS__); \
    } while (0)

/* pooled (images, rows/2, columns/2, channels); mean and r (images, channels), which backward needs. */
void forward(const float *x, const float *gain, const float *shift, float eps, int64_t images, int64_t rows, int64_t columns,
             int64_t channels, float *pooled, float *mean, float *r)
{
    FOR(channels, forward_of, x, gain, shift, eps, images, rows, columns, pooled, mean, r);
}

/* dx like x; dgain and dshift (channels), zero on entry; sums: room for 2 * channels numbers. */
void backward(const float *g, const float *x, const float *gain, const float *shift, const float *mean, const float *r,
              int64_t images, int64_t rows, int64_t columns, int64_t channels, float *dx, float *dgain, float *dshift,
              float *sums)
{
    FOR(channels, backward_of, g, x, gain, shift, mean, r, images, rows, columns, dx, dgain, dshift, sums);
}
