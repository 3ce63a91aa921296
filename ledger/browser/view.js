// The page: two inputs, one answer, in English or Chinese. Nothing leaves the browser.

const WORDS = {
  en: {
    title: "Check an evidence bundle",
    lead: "Everything happens in this page: it opens no connection and sends nothing. Save it and use it offline.",
    file: "Evidence bundle (.zip)",
    genesis: "Genesis hash that you got by another way",
    check: "Check",
    working: "Checking…",
    accepted: "Every claim holds.",
    unpinned: "No genesis hash was given: the bundle agrees with itself, and whose exchange it is remains open.",
    refused: "Refused: the file {member} does not hold. {reason}",
    unsupported: "This browser cannot check Ed25519 signatures (WebCrypto). Use a current Chromium, Firefox or Safari, and open the page from a file or over HTTPS.",
    malformed: "expected 64 hex digits",
    laterEpoch: "Bundles of a later epoch of a log are checked by parley verify only.",
    document: "A notarized document, if you have one to check",
    proof: "Its proof (.parley-proof)",
    copy: "The copy that was presented",
    original: "The original, if it is at hand",
    incomplete: "A document needs its proof and the copy.",
    outcomes: {
      "authentic": "Authentic: the copy is the document that was notarized.",
      "copy-differs": "The copy differs from what was notarized.",
      "original-differs": "The original differs: the copy is what was notarized, the original is not.",
      "ledger-differs": "Original and copy agree, and differ from what was notarized.",
      "all-differ": "Ledger, original and copy are three different documents.",
      "unproven": "Unproven: the proof does not lead to an entry of this ledger. {reason}",
    },
    findings: {
      "same": "same", "different": "different", "not-compared": "not compared: no original",
      "unproven": "not on the ledger",
    },
    notChecked: "Time stamps (RFC 3161) are not checked by this page, nor is the log executed again: parley verify --tsa-root, --replay.",
    rows: {
      genesis: "Genesis", origin: "Log", size: "Entries under the checkpoint", members: "Members",
      cosigners: "Cosigned by", cosigned: "Cosigned at (median)", exporter: "Exported by", entries: "Entries shown", refused: "Refused by the ledger",
      first: "First batch", last: "Last batch", disclosed: "Private content shown of entries",
      attachments: "Papers", notarizedBy: "Notarized by", notarizedAt: "Notarized at", note: "Note",
      ledgerOriginal: "Ledger and original", ledgerCopy: "Ledger and copy", originalCopy: "Original and copy",
      fingerprint: "Fingerprint of the copy (SHA-256)", complete: "All entries of the log are here", timestamps: "Time stamps, not checked here",
    },
  },
  zh: {
    title: "验证证据包",
    lead: "一切都在本页面内完成:不建立连接,不发送任何内容。可保存后离线使用。",
    file: "证据包(.zip)",
    genesis: "您从其他途径得到的创世哈希",
    check: "验证",
    working: "正在验证……",
    accepted: "全部声明成立。",
    unpinned: "未给出创世哈希:证据包自身一致,但属于哪个交换网络尚无定论。",
    refused: "拒绝:文件 {member} 不成立。{reason}",
    unsupported: "此浏览器无法验证 Ed25519 签名(WebCrypto)。请使用新版 Chromium、Firefox 或 Safari,并从本地文件或通过 HTTPS 打开本页。",
    malformed: "应为 64 位十六进制数字",
    laterEpoch: "后续纪元日志的证据包只能用 parley verify 验证。",
    document: "已存证的文件(如需核验)",
    proof: "其证明(.parley-proof)",
    copy: "送验件",
    original: "原件(若在手边)",
    incomplete: "核验文件需要证明与送验件。",
    outcomes: {
      "authentic": "一致:送验件就是当初存证的文件。",
      "copy-differs": "送验件与存证内容不一致。",
      "original-differs": "原件不一致:送验件与存证一致,而原件不同。",
      "ledger-differs": "原件与送验件相同,但与存证内容不一致。",
      "all-differ": "账本、原件与送验件三者互不相同。",
      "unproven": "证明不成立:无法对应到本账本的条目。{reason}",
    },
    findings: {
      "same": "一致", "different": "不一致", "not-compared": "未比对:无原件", "unproven": "账本无此记录",
    },
    notChecked: "本页不验证时间戳(RFC 3161),也不重新执行日志:请用 parley verify --tsa-root、--replay。",
    rows: {
      genesis: "创世条目", origin: "日志", size: "检查点下的条目数", members: "成员", cosigners: "联署成员", cosigned: "联署时间(中位数)",
      exporter: "导出成员", entries: "展示的条目", refused: "被账本拒绝", first: "最早批次", last: "最晚批次",
      disclosed: "展示私密内容的条目", attachments: "文件", notarizedBy: "存证方", notarizedAt: "存证时间", note: "备注",
      ledgerOriginal: "账本与原件", ledgerCopy: "账本与送验件", originalCopy: "原件与送验件",
      fingerprint: "送验件指纹(SHA-256)", complete: "包含日志的全部条目",
      timestamps: "时间戳(本页不验证)",
    },
  },
};

let language = navigator.language.startsWith("zh") ? "zh" : "en";
const byId = (id) => document.getElementById(id);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function translate(to) {
  language = to;
  document.documentElement.lang = to === "zh" ? "zh-CN" : "en";
  document.title = WORDS[to].title;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = WORDS[to][element.dataset.word];
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === to));
  }
  answer("", "");
}

/** Show an answer; state is "accepted", "refused", "working" or nothing. */
function answer(state, sentence, member = "", facts = {}) {
  const outcome = byId("outcome");
  outcome.dataset.state = state;
  outcome.dataset.member = member;
  outcome.textContent = sentence;
  const table = byId("facts");
  table.replaceChildren();
  for (const [name, value] of Object.entries(facts)) {
    if (!(name in WORDS[language].rows)) continue;
    const line = table.insertRow(), heading = document.createElement("th");
    heading.scope = "row";
    heading.textContent = WORDS[language].rows[name];
    line.append(heading);
    line.insertCell().textContent = shown(value);
  }
}

function shown(value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, n]) => `${name} ${n}`).join(", ");
  return String(value);
}

const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());

/** Compare a copy, and the original if there is one, with what an opened bundle shows. */
async function judge(opened, words, proofFile, copyFile, originalFile) {
  const proof = await guard("proof", async () => parseNotarized(await bytesOf(proofFile)));
  const fingerprint = hex(await sha256(await bytesOf(copyFile)));
  const original = originalFile ? hex(await sha256(await bytesOf(originalFile))) : null;
  if (isSilentOn(proof, opened)) throw new Invalid("proof", `expected a bundle that shows entry ${proof.index}`);
  let onRecord = {}, ledger = proof.digest, reason = "";
  try {
    onRecord = await checkNotarized(proof, opened);
  } catch (error) {
    [ledger, reason] = [null, error.message];
  }
  const { outcome, ...pairs } = compareThree(ledger, original, fingerprint);
  const named = Object.entries(pairs).map(([pair, finding]) => [pair, words.findings[finding]]);
  return {
    state: outcome === "authentic" ? "accepted" : "refused",
    member: outcome === "authentic" ? "" : outcome,
    sentence: fill(words.outcomes[outcome], { reason }),
    facts: { ...onRecord, ...Object.fromEntries(named), fingerprint },
  };
}

async function check(event) {
  event.preventDefault();
  const words = WORDS[language], file = byId("bundle").files[0];
  const pinned = byId("genesis").value.trim().toLowerCase();
  if (file === undefined) return;
  const [proof, copy, original] = ["proof", "copy", "original"].map((id) => byId(id).files[0]);
  if ((proof || copy || original) && !(proof && copy)) return answer("refused", words.incomplete, "proof");
  if (pinned && !/^[0-9a-f]{64}$/.test(pinned)) return answer("refused", words.malformed, "genesis");
  answer("working", words.working);
  if (!(await hasEd25519())) return answer("refused", words.unsupported, "browser");
  try {
    const opened = await openBundle(await bytesOf(file), pinned), { report } = opened;
    const found = proof ? await judge(opened, words, proof, copy, original) : { state: "accepted", facts: {} };
    const sentences = [found.sentence ?? words.accepted, report.pinned ? "" : words.unpinned, words.notChecked];
    const said = sentences.filter(Boolean).join(" ");
    answer(found.state, said, found.member ?? "", { ...found.facts, ...report });
  } catch (error) {
    const { member = "page", reason = error.message } = error;
    if (error instanceof LaterEpoch) return answer("refused", words.laterEpoch, member);
    answer("refused", fill(words.refused, { member, reason }), member);
  }
}

byId("form").addEventListener("submit", check);
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => translate(button.dataset.language));
}
translate(language);
