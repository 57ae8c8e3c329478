import { describe, expect, it } from 'vitest';
import { layout } from '../../engine/layout.js';
import { fieldsOf, renderPage, renderTable } from '../../scripts/generate-layout.js';

describe('generate-layout', () => {
  const table = layout({ FIRST: 2, SECOND: 1 });
  const text = 'layout({\n  FIRST: 2, // two words\n  SECOND: 1,\n';

  it('takes offsets from the table and words from the comments', () => {
    expect(fieldsOf(table, text)).toEqual([
      { name: 'FIRST', offset: 0, words: 2, comment: 'two words' },
      { name: 'SECOND', offset: 2, words: 1, comment: '' },
    ]);
  });

  it('renders a table with its size in bytes', () => {
    const page = renderTable('THING', 'A thing.', fieldsOf(table, text), table.WORDS);
    expect(page).toContain('A thing. 3 words (12 bytes).');
    expect(page).toContain('| 0 | 2 | `FIRST` | two words |');
  });

  it('knows every table of the record, the user and the messages', async () => {
    const page = await renderPage(new URL('../../../', import.meta.url));
    for (const name of [
      'RECORD',
      'USER',
      'HEADER',
      'WINDOW',
      'REQUEST',
      'REPLY',
      'ENTRY',
      'FLUSH',
      'RING',
      'DOORBELL',
    ]) {
      expect(page).toContain(`### ${name}\n`);
    }
    expect(page).toContain('`MENTION_COUNT` | 0 to 2^31-1, saturates |');
  });
});
