//! Markdown as a tree of things that can be shown. No HTML is made of it at any time: what is HTML in the text stays
//! text, and an address that could run something is no link.
import { lexer, type Token, type Tokens } from 'marked';

export type Inline =
  | { is: 'text'; text: string }
  | { is: 'code'; text: string }
  | { is: 'strong' | 'em' | 'del'; of: Inline[] }
  | { is: 'link'; href: string; of: Inline[] }
  | { is: 'break' };
export type Part =
  | { is: 'heading'; depth: number; of: Inline[] }
  | { is: 'paragraph'; of: Inline[] }
  | { is: 'code'; text: string }
  | { is: 'rule' }
  | { is: 'quote'; of: Part[] }
  | { is: 'list'; ordered: boolean; start: number; items: { checked: boolean | null; of: Part[] }[] }
  | { is: 'table'; head: Inline[][]; rows: Inline[][][] };

/** Lists in lists, quotes in quotes: no deeper than this. */
const DEPTH_MAX = 12;

export function partsOf(markdown: string): Part[] {
  return blocks(lexer(markdown, { gfm: true }), DEPTH_MAX);
}

/** An address that only leads somewhere; null if it could do more. */
export function safeAddress(address: string): string | null {
  // Browsers ignore control signs and blanks within a scheme, so an address with one is not trusted.
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u0020\u007f-\u00a0\\]/.test(address)) return null;
  if (/^(https?|mailto):/i.test(address)) return address;
  return /^(\/(?!\/)|#)/.test(address) ? address : null;
}

function blocks(tokens: Token[], depth: number): Part[] {
  if (depth === 0) return [];
  return tokens.flatMap((token) => block(token, depth));
}

function block(token: Token, depth: number): Part[] {
  switch (token.type) {
    case 'heading':
      return [{ is: 'heading', depth: (token as Tokens.Heading).depth, of: inlines(token.tokens, depth) }];
    case 'paragraph':
    case 'text':
      return [{ is: 'paragraph', of: token.tokens ? inlines(token.tokens, depth) : plain(token.text) }];
    case 'code':
      return [{ is: 'code', text: token.text }];
    case 'hr':
      return [{ is: 'rule' }];
    case 'blockquote':
      return [{ is: 'quote', of: blocks(token.tokens ?? [], depth - 1) }];
    case 'list':
      return [list(token as Tokens.List, depth)];
    case 'table':
      return [table(token as Tokens.Table, depth)];
    case 'html':
      return [{ is: 'paragraph', of: plain(token.raw.trim()) }];
    // Blank lines, and definitions of addresses that are used elsewhere.
    default:
      return [];
  }
}

function list(token: Tokens.List, depth: number): Part {
  const items = token.items.map((item) => ({
    checked: item.task ? item.checked === true : null,
    of: blocks(
      item.tokens.filter((inner) => inner.type !== 'checkbox'),
      depth - 1,
    ),
  }));
  return { is: 'list', ordered: token.ordered, start: Number(token.start) || 1, items };
}

function table(token: Tokens.Table, depth: number): Part {
  const cells = (row: Tokens.TableCell[]): Inline[][] => row.map((cell) => inlines(cell.tokens, depth));
  return { is: 'table', head: cells(token.header), rows: token.rows.map(cells) };
}

function inlines(tokens: Token[] | undefined, depth: number): Inline[] {
  if (depth === 0) return [];
  return (tokens ?? []).flatMap((token): Inline[] => {
    switch (token.type) {
      case 'strong':
      case 'em':
      case 'del':
        return [{ is: token.type, of: inlines(token.tokens, depth - 1) }];
      case 'codespan':
        return [{ is: 'code', text: token.text }];
      case 'br':
        return [{ is: 'break' }];
      case 'link': {
        const of = inlines(token.tokens, depth - 1);
        const href = safeAddress(token.href);
        return href === null ? of : [{ is: 'link', href, of }];
      }
      // A picture from elsewhere would tell others who looks: its words stand for it.
      case 'image':
        return plain(token.text);
      case 'text':
        return token.tokens ? inlines(token.tokens, depth - 1) : plain(token.text);
      case 'escape':
        return plain(token.text);
      default:
        return plain(token.raw);
    }
  });
}

function plain(text: string): Inline[] {
  return [{ is: 'text', text: decoded(text) }];
}

const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  '#39': "'",
  nbsp: '\u00a0',
};

/** The few entities that people write; they become signs of a text, never HTML. */
function decoded(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
