// What TypeScript has to know of the page. Nothing of this is served.

interface Window {
  diffyne: any; // of the package, or of a page's scripts
  diffyneConfig: any;
  diffyneClient: any;
}
