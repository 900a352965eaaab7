/* What the load tools share: a clock that does not jump, and the spread of what was measured. */
#ifndef LOAD_H
#define LOAD_H
#include <stdlib.h>
#include <time.h>

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static inline int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}
static inline void sort(float *seconds, long count) { qsort(seconds, (size_t)count, sizeof *seconds, by_value); }
/* of sorted values, in milliseconds; 0 of none */
static inline double percentile_ms(const float *seconds, long count, double share) {
    return count ? seconds[(long)(count * share)] * 1e3 : 0;
}
#endif
