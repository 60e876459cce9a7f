// The states: how they are called, in which order they are shown, and where they stand on the diagram.

export const STATES = ['queued', 'active', 'rate_limited', 'backoff', 'draining', 'dead_lettered', 'completed', 'cancelled'];
export const LIVE = STATES.slice(0, 6);
export const FINISHED = ['completed', 'cancelled'];

const LABELS = {
  queued: 'Queued', active: 'Active', rate_limited: 'Rate limited', backoff: 'Backoff',
  draining: 'Draining', dead_lettered: 'Dead-lettered', completed: 'Completed', cancelled: 'Cancelled',
};
export const label = state => LABELS[state] ?? state;

const MEANINGS = {
  queued: 'waits for its turn', active: 'one attempt is outstanding', rate_limited: 'waits for the provider’s reset',
  backoff: 'waits for its retry', draining: 'may finish, nothing new starts', dead_lettered: 'waits for an operator',
  completed: 'finished well', cancelled: 'ended by an operator',
};
export const meaning = state => MEANINGS[state];

/** What reaching the deadline means. */
const DUE = {
  queued: 'expires', active: 'lease ends', rate_limited: 'resumes', backoff: 'retries', draining: 'is stopped',
  completed: 'purged', cancelled: 'purged',
};
export const due = state => DUE[state] ?? 'due';

/** The colour of a state, wherever it is drawn. */
export const colour = state => `var(--s-${state.replace('_', '-')})`;
