/**
 * A small part of Markdown, made of elements and text: paragraphs, headings, lists, quotes, fenced
 * code; bold, italics, code and links to the web. Anything else, HTML above all, is shown as it is.
 */

import { h } from './dom.js';

const FENCE = /^ {0,3}(```+|~~~+)[^`]*$/;
const HEADING = /^(#{1,6}) +(\S.*)$/;
const BULLET = /^ {0,3}[-*+] +/;
const NUMBER = /^ {0,3}\d{1,9}[.)] +/;
const QUOTE = /^ {0,3}> ?/;

/** A place for text that grows. Blocks that are complete are made once. */
export class MarkdownView {
  constructor() {
    this.node = h('div', { class: 'prose' });
    this.text = '';
    this.settled = 0; // up to here the blocks are made for good
    this.tail = [];
  }

  update(text) {
    if (text === this.text) return;
    if (!text.startsWith(this.text)) this.#restart();
    this.text = text;
    for (const node of this.tail) node.remove();
    const blocks = split(text.slice(this.settled));
    const last = blocks.pop();
    for (const block of blocks) {
      this.node.append(render(block.lines));
      this.settled += block.length;
    }
    this.tail = last ? [render(last.lines)] : [];
    this.node.append(...this.tail);
  }

  #restart() {
    this.node.replaceChildren();
    this.tail = [];
    this.settled = 0;
  }
}

/** Blocks of lines, each with its length in the text; fenced code may hold empty lines. */
export function split(text) {
  const blocks = [];
  let block = null;
  let fence = null;
  for (const line of text.split(/(?<=\n)/)) {
    const bare = line.replace(/\n$/, '');
    const edge = FENCE.exec(bare)?.[1];
    const opens = edge && !fence;
    if (block && !fence && (opens || (block.over && bare.trim()) || startsAlone(block, bare)))
      block = null;
    if (!block) blocks.push((block = { lines: [], length: 0, over: false }));
    block.length += line.length;
    block.lines.push(bare);
    if (opens) fence = edge;
    else if (fence && edge && edge.startsWith(fence) && bare.trim() === edge) {
      fence = null;
      block.over = true;
    } else if (!fence && !bare.trim()) block.over = true;
  }
  return blocks;
}

const startsAlone = (block, line) => HEADING.test(line) || HEADING.test(block.lines[0]);

function render(all) {
  const lines = trimmed(all);
  if (!lines.length) return document.createTextNode('');
  const first = lines[0];
  if (FENCE.test(first)) return code(lines);
  const heading = HEADING.exec(first);
  if (heading) return h('p', { class: `heading heading-${heading[1].length}` }, inline(heading[2]));
  if (lines.every((line) => BULLET.test(line))) return list('ul', lines, BULLET);
  if (lines.every((line) => NUMBER.test(line))) return list('ol', lines, NUMBER);
  if (lines.every((line) => QUOTE.test(line))) {
    return h('blockquote', {}, inline(lines.map((line) => line.replace(QUOTE, '')).join('\n')));
  }
  return h('p', {}, inline(lines.join('\n')));
}

function trimmed(lines) {
  let end = lines.length;
  while (end > 0 && !lines[end - 1].trim()) end -= 1;
  let start = 0;
  while (start < end && !lines[start].trim()) start += 1;
  return lines.slice(start, end);
}

function code(lines) {
  const closed = lines.length > 1 && FENCE.test(lines.at(-1)) && !/\w/.test(lines.at(-1));
  return h('pre', {}, h('code', {}, lines.slice(1, closed ? -1 : undefined).join('\n')));
}

function list(tag, lines, mark) {
  return h(
    tag,
    {},
    lines.map((line) => h('li', {}, inline(line.replace(mark, '')))),
  );
}

const INLINE =
  /`([^`\n]+)`|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\s][^*\n]*)\*(?!\w)|\[([^[\]\n]+)\]\(([^()\s]+)\)/g;

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index), inlineNode(match));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function inlineNode([whole, coded, bold, italic, label, target]) {
  if (coded !== undefined) return h('code', {}, coded);
  if (bold !== undefined) return h('strong', {}, bold);
  if (italic !== undefined) return h('em', {}, italic);
  if (!/^https?:\/\//i.test(target) || !URL.canParse(target)) return whole;
  const outside = { href: target, target: '_blank', rel: 'noopener noreferrer', title: target };
  return h('a', outside, label);
}
