import { describe, expect, it } from 'vitest';
import { cssOf, emptyTrack, followed, norm, sampleOf, SPAN_MS, STILL, turned } from './motion';

const gyro = (at: number, values: [number, number, number]) => ({ at, gyro: values });

describe('motion', () => {
  it('is read as JSON and as text, and nothing else is', () => {
    const parts = [
      { type: 'acc', values: [1, 2, 2] },
      { type: 'mag', values: [0, 0, 0] },
    ];
    expect(sampleOf(parts, 5)).toEqual({ at: 5, acceleration: [1, 2, 2] });
    expect(sampleOf('[{"type":"gyro","values":[1,0,0]}]', 5)).toEqual({ at: 5, gyro: [1, 0, 0] });
    for (const wrong of [
      null,
      7,
      'imu',
      '{}',
      [{ type: 'acc', values: [1, 2] }],
      [{ type: 'acc' }],
      [null],
    ]) {
      expect(sampleOf(wrong, 5)).toBeNull();
    }
    expect(norm([1, 2, 2])).toBe(3);
  });

  it('adds up how it turned, and forgets what is old', () => {
    const quarter = Array.from({ length: 11 }, (_, index) => gyro(index * 100, [0, 0, 90]));
    const track = followed(emptyTrack(), quarter);
    expect(track.turn[0]).toBeCloseTo(Math.SQRT1_2);
    expect(track.turn[3]).toBeCloseTo(Math.SQRT1_2);
    const late = followed(track, [gyro(SPAN_MS + 500, [0, 0, 90])]);
    expect(late.samples.map(({ at }) => at)).toEqual([500, 600, 700, 800, 900, 1000, SPAN_MS + 500]);
    expect(late.turn).toEqual(track.turn);
  });

  it('turns the picture as the sensor turns', () => {
    expect(cssOf(STILL)).toBe(`matrix3d(${[1, 0, 0].map((one) => one.toFixed(5)).join(',')},0,\
${[0, 1, 0].map((one) => one.toFixed(5)).join(',')},0,${[0, 0, 1].map((one) => one.toFixed(5)).join(',')},0,0,0,0,1)`);
    // Around its upright axis: what pointed to the right points away, which is against the z of the screen.
    expect(cssOf(turned(STILL, [0, 0, 90], 1))).toMatch(/^matrix3d\(-?0\.00000,0\.00000,-1\.00000,0,/);
    // Around the axis to the right: what pointed away points up, which is against the y of the screen.
    expect(cssOf(turned(STILL, [90, 0, 0], 1))).toMatch(/,0,-?0\.00000,1\.00000,-?0\.00000,0,0,0,0,1\)$/);
  });
});
