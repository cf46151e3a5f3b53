// Sets the chosen theme before the first paint. A file of its own, because inline scripts are refused by
// the CSP.
(function () {
  try {
    var theme = localStorage.getItem('motehub.theme');
    if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  } catch (error) {
    // Storage is switched off: the theme of the system stays.
  }
})();
