// What generated code calls its types, and what is wrong with it.

// quicktype's words for what has no name, Modelina's, and what comes before a word that the language has for itself.
const invented = /(Purple|Fluffy|Tentacled|Sticky|Indigo|Indecent|Hilarious|Ambitious|Cunning|Magenta|Frisky|Mischievous|Braggadocious|AnonymousSchema|AnonymSchema|Reserved[A-Z]|Undefined)/;

// How each language begins a type, and writes that anything may stand somewhere. In Go only fields count: code
// that reads JSON has its own reasons.
const languages = {
  ts: { type: /^export (?:interface|type|enum|class) (\w+)/gm, any: /\bany\b.*/g },
  go: { type: /^type (\w+)/gm, any: /^\t\w+ .*(?:interface\{\}|\bany\b).*`json:.*/gm },
  java: { type: /^public (?:class|enum) (\w+)/gm, any: /\bObject\b.*/g },
  cs: { type: /^ *public (?:partial )?(?:class|enum) (\w+)/gm, any: /\b(?:object|dynamic)\b.*/g },
  py: { type: /^class (\w+)/gm, any: /\bAny\b.*/g },
};

/** The code without its comments, whose words mean nothing here. */
function withoutComments(language, text) {
  if (language === "py") return text.replace(/"""[\s\S]*?"""/g, "").replace(/#.*/g, "");
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*/gm, "");
}

/** The names of the types of generated code, in order. */
export function typesOf(language, text) {
  return [...withoutComments(language, text).matchAll(languages[language].type)].map(([, name]) => name).sort();
}

/**
 * What is wrong with generated code: invented names, a type in two copies, which have numbers, and what may be anything.
 * A name may end in a number where it matches numbered.
 */
export function faultsOf(language, text, numbered = /^$/) {
  const code = withoutComments(language, text);
  const names = typesOf(language, text);
  return [
    ...names.filter((name) => /\d$/.test(name) && !numbered.test(name)).map((name) => `the type ${name}`),
    ...[...code.matchAll(new RegExp(`\\b\\w*${invented.source}\\w*`, "g"))].map(([name]) => `the name ${name}`),
    ...[...code.matchAll(languages[language].any)].map(([line]) => `any: ${line.trim()}`),
    ...(names.length === 0 ? ["no types"] : []),
  ];
}
