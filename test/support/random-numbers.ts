/**
 * Random numbers that are the same in every run (a linear congruential generator with the constants of Numerical Recipes).
 *
 * @returns numbers from 0 up to, but not including, 1, in steps of 2^-32; the high bits are the random ones
 */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
