// SPDX-License-Identifier: GPL-2.0
// A Web server on Node: server.js NAME FOLDER LOG. GET /FILE is a file of FOLDER; POST and PUT /sum?id=ID say how long their
// bodies are, and their Adler-32; LOG gets a line for each.
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');
const [name, folder, book] = process.argv.slice(2);

http.createServer((request, response) => {
	response.setHeader('X-Server', name);
	if (request.method === 'GET') {
		const file = path.join(folder, path.basename(request.url.split('?')[0]));
		response.setHeader('Content-Length', fs.statSync(file).size);
		fs.createReadStream(file).on('error', () => response.destroy()).pipe(response);
		return;
	}
	let a = 1, b = 0, length = 0;
	request.on('data', (chunk) => {
		length += chunk.length;
		for (const octet of chunk) {
			a = (a + octet) % 65521;
			b = (b + a) % 65521;
		}
	});
	request.on('end', () => {
		fs.appendFileSync(book, `${name} ${request.method} ${request.url}\n`);
		response.end(`${length} ${b * 65536 + a}\n`);
	});
}).listen({ port: 80, host: '0.0.0.0', backlog: 128 });
