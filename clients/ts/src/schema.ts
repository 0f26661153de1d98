/** The part of JSON Schema that the types of this package are generated from. */
export interface Schema {
  readonly type?: TypeName | readonly TypeName[];
  readonly const?: string | number | boolean;
  readonly enum?: readonly string[];
  readonly minLength?: number;
  readonly minimum?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
}

type TypeName = "object" | "array" | "string" | "integer" | "number" | "boolean" | "null";

/** Says where and why a value does not match a schema; undefined if it does. */
export function mismatch(schema: Schema, value: unknown, path: string): string | undefined {
  const found = find(schema, value);
  return found && `${path}${found.at} ${found.problem}`;
}

/** Why a part of a value does not match. The path is made only where there is one, since most values match. */
interface Mismatch {
  readonly at: string;
  readonly problem: string;
}

function find(schema: Schema, value: unknown): Mismatch | undefined {
  const { type } = schema;
  if (schema.const !== undefined && value !== schema.const) return { at: "", problem: `is not ${JSON.stringify(schema.const)}` };
  if (type !== undefined && !(typeof type === "string" ? is(type, value) : type.some((one) => is(one, value)))) {
    return { at: "", problem: `is no ${[type].flat().join(" or ")}` };
  }
  if (typeof value === "string") {
    if (value.length < (schema.minLength ?? 0)) return { at: "", problem: "is empty" };
    if (schema.enum && !schema.enum.includes(value)) return { at: "", problem: `is none of ${schema.enum.join(", ")}` };
  } else if (typeof value === "number") {
    if (value < (schema.minimum ?? -Infinity)) return { at: "", problem: `is less than ${schema.minimum}` };
  } else if (Array.isArray(value)) {
    return schema.items && findIn(value, schema.items);
  } else if (typeof value === "object" && value !== null) {
    return findInObject(schema, value as Record<string, unknown>);
  }
  return undefined;
}

function findIn(items: readonly unknown[], schema: Schema): Mismatch | undefined {
  for (const [i, item] of items.entries()) {
    const found = find(schema, item);
    if (found) return { ...found, at: `[${i}]${found.at}` };
  }
  return undefined;
}

function findInObject({ required = [], properties, additionalProperties }: Schema, object: Record<string, unknown>): Mismatch | undefined {
  for (const name of required) {
    if (!Object.hasOwn(object, name)) return { at: "", problem: `has no ${name}` };
  }
  for (const name of Object.keys(object)) {
    const schema = properties && Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    const found = schema && find(schema, object[name]);
    if (found) return { ...found, at: `.${name}${found.at}` };
  }
  return undefined;
}

function is(type: TypeName, value: unknown): boolean {
  switch (type) {
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    default:
      return typeof value === type;
  }
}
