import type { Dashboard } from '@grafana/schema';

// JSON holds the values of enumerations where TypeScript wants their names.
type Plain<T> = unknown extends T
  ? T
  : T extends string
    ? string extends T ? T : `${T}`
    : T extends number
      ? number extends T ? T : number
      : T extends (infer Item)[]
        ? Plain<Item>[]
        : T extends object
          ? { [Key in keyof T]: Plain<T[Key]> }
          : T;

export const dashboard: Plain<Dashboard> = "the dashboard";
