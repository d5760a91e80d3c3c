for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, column) => row.cells[column].dataset.key;
  const order = (one, other) => (isNaN(one) || isNaN(other) ? one.localeCompare(other) : one - other);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      const known = [], unknown = [];
      for (const row of body.rows) (key(row, column) === undefined ? unknown : known).push(row);
      known.sort((one, other) => turn * order(key(one, column), key(other, column)));
      body.append(...known, ...unknown);
    });
  });
}
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details.file")) one.open = true;
});
