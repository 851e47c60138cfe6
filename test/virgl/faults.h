/* Makes a call of the exporter fail, as on a system without memory or descriptors. */
#ifndef VSOCKENC_TEST_FAULTS_H
#define VSOCKENC_TEST_FAULTS_H

/* The `number`-th allocation from now fails, once; 0: none. */
void faults_arm(long number);

/* How many allocations there have been since then. */
long faults_count(void);

#endif
