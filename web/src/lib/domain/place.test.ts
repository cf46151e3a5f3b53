import { describe, expect, it } from 'vitest';
import { gridOf, markersOf, moved, pixelOf, placeOf, placeText, scaleOf, viewOf, zoomed } from './place';

const size = { width: 600, height: 400 };
const paris = { lat: 48.714784, lng: 2.205502 };

describe('places', () => {
  it('are read as JSON and as text, if they are on earth', () => {
    expect(placeOf(paris)).toEqual(paris);
    expect(placeOf('{"lat":"48.5","lng":-2}')).toEqual({ lat: 48.5, lng: -2 });
    for (const wrong of [
      null,
      1,
      'here',
      '[]',
      {},
      { lat: 91, lng: 0 },
      { lat: 0, lng: 181 },
      { lat: '', lng: 1 },
    ])
      expect(placeOf(wrong)).toBeNull();
    expect(placeText({ lat: -1.5, lng: 2 })).toBe('1.50000° S 2.00000° E');
  });

  it('are all within the view', () => {
    const places = [paris, { lat: 45.2, lng: 5.7 }, { lat: 50.6, lng: 3 }];
    const view = viewOf(places, size);
    for (const place of places) {
      const { x, y } = pixelOf(place, view, size);
      expect(x > 0 && x < size.width && y > 0 && y < size.height).toBe(true);
    }
    expect(pixelOf(paris, viewOf([paris], size), size)).toEqual({ x: 300, y: 200 });
    expect(viewOf([], size).height).toBeGreaterThan(100);
  });

  it('have a grid with round numbers and a scale', () => {
    const grid = gridOf(viewOf([paris, { lat: 48.8, lng: 2.4 }], size), size);
    expect(grid.lats.map(({ text }) => text)).toContain('48.75° N');
    expect(grid.lngs.length).toBeGreaterThanOrEqual(3);
    for (const { at } of grid.lats) expect(at >= 0 && at <= size.height).toBe(true);
    expect(gridOf({ lat: 0, lng: 0, height: 160 }, size).lats.map(({ text }) => text)).toContain('0°');
    const scale = scaleOf({ lat: 0, lng: 0, height: 1 }, size, 100);
    expect(scale.text).toBe('20 km');
    expect(scale.pixels).toBeCloseTo(71.9, 0);
  });

  it('that cover each other are one marker', () => {
    const items = [paris, { lat: paris.lat + 1e-6, lng: paris.lng }, { lat: 48.8, lng: 2.4 }];
    const view = viewOf(items, size);
    const markers = markersOf(
      items.map((place) => ({ place })),
      view,
      size,
    );
    expect(markers.map(({ items }) => items.length)).toEqual([2, 1]);
    expect(markersOf([{ place: { lat: 0, lng: 0 } }], view, size)).toEqual([]);
  });

  it('are zoomed and moved within bounds', () => {
    const view = viewOf([paris], size);
    expect(zoomed(view, 1e-9).height).toBe(view.height);
    expect(zoomed(view, 1e9).height).toBe(160);
    const east = moved({ lat: 0, lng: 0, height: 4 }, -100, 0, size);
    expect(east.lng).toBeCloseTo(1);
    expect(moved(east, 0, 1e9, size).lat).toBe(85);
  });
});
