// Listen to the room, and say something in it.

const messages = document.getElementById("messages");
const state = document.getElementById("state");
const problem = document.getElementById("problem");
const form = document.getElementById("say");

// The browser comes back by itself when it is cut off, and says which message it heard last.
const source = new EventSource(document.body.dataset.messages);

source.onopen = () => show("open", "Connected");
source.onerror = () => show("", "Cut off; coming back…");
source.onmessage = (event) => {
  const { name, text } = JSON.parse(event.data);
  const item = document.createElement("li");
  const who = document.createElement("b");
  const said = document.createElement("span");
  who.textContent = name;
  said.textContent = text;
  item.append(who, said);
  messages.append(item);
  messages.scrollTop = messages.scrollHeight;
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
  if (answer.ok) {
    form.elements.text.value = "";
    form.elements.text.focus();
  } else {
    const wait = answer.headers.get("Retry-After");
    problem.textContent = wait ? `Too fast. Wait ${wait} s.` : "That was not sent.";
  }
});

function show(kind, words) {
  state.className = kind;
  state.textContent = words;
}
