const data = JSON.parse(document.getElementById("figures").textContent);
document.querySelectorAll("table.sortable").forEach(makeSortable);
const chart = document.getElementById("scatter");
if (chart) startScatter(chart, data);
const confusion = document.getElementById("matrices");
if (confusion) startConfusion(confusion, data);
