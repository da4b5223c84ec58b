// Mistakes that run, and habits of these scripts. TypeScript checks names and types (tsconfig.json).

import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['node_modules/'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      curly: ['error', 'multi-line'],
      eqeqeq: 'error',
      'max-len': ['error', { code: 160, ignoreComments: true }],
      'max-lines': ['error', 400],
      'no-console': ['error', { allow: ['warn', 'error', 'debug'] }],
      'no-eval': 'error',
      'no-implicit-globals': 'error',
      'no-shadow': ['error', { builtinGlobals: false }],
      'no-use-before-define': ['error', { functions: false, classes: false, variables: false }],
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      quotes: ['error', 'single', { avoidEscape: true }],
      semi: 'error',
    },
  },
  { files: ['tests/**', '*.config.js'], languageOptions: { globals: globals.node } },
];
