"""What the Redis store does in one step on the server: add, read, update, delete and count tasks, as scripts in Lua.

`app.store.redis` describes the keys.
"""

# A task's Idempotency-Keys go with it. One that has expired may name another task since.
FORGET = """
local function forget_call(prefix, id, key)
    local once = prefix .. 'once:' .. key
    if redis.call('HGET', once, 'task') == id then redis.call('DEL', once) end
end
local function forget_calls(prefix, id)
    local calls = prefix .. 'calls:' .. id
    for _, key in ipairs(redis.call('LRANGE', calls, 0, -1)) do forget_call(prefix, id, key) end
    redis.call('DEL', calls)
end
"""
# Redis runs a script atomically. KEYS holds only the owner's prefix, from which a cluster finds the slot.
# ARGV of the first two: the owner's prefix, the id, the record, '1' and the payload or '0' and '', the expiry in
# milliseconds since 1970 or '', the most bytes of pictures, the number of the picture to remove or '', how many are
# added, the number and picture of each, then the digest of the Idempotency-Key or '', the key, the seconds to keep it,
# and how many of a task's changes are remembered by their keys. `last` is what each script has beside these, and after
# it '1' if by the caller's clock the task's time is not over.
WRITE = (
    FORGET
    + """
local prefix, id, record, has_payload, payload, expires = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local most_bytes, removed, added = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local first = 10 + 2 * added
local digest, once = ARGV[first], prefix .. 'once:' .. ARGV[first + 1]
local remembered, most_calls, last = ARGV[first + 2], ARGV[first + 3], ARGV[first + 4]
local lives = ARGV[first + 5] == '1'
local task, support = prefix .. 'task:' .. id, prefix .. 'support:' .. id
local pictures, bytes, calls = prefix .. 'pictures:' .. id, prefix .. 'bytes', prefix .. 'calls:' .. id
local tasks, expiries = prefix .. 'tasks', prefix .. 'expiries'
local function forget_expired()
    local time = redis.call('TIME')
    local gone = redis.call('ZRANGEBYSCORE', expiries, '-inf', time[1] * 1000 + time[2] / 1000, 'LIMIT', 0, 100)
    for n = 1, #gone do forget_calls(prefix, gone[n]) end
    if #gone > 0 then
        redis.call('ZREM', expiries, unpack(gone))
        redis.call('ZREM', tasks, unpack(gone))
        redis.call('ZREM', bytes, unpack(gone))
    end
end
local function picture_bytes()
    local size = 0
    if removed ~= '' then size = size - redis.call('HSTRLEN', pictures, removed) end
    for n = 11, first - 1, 2 do size = size + string.len(ARGV[n]) end
    return size
end
local function has_room()
    if added == 0 then return true end
    local size, sizes = picture_bytes(), redis.call('ZRANGE', bytes, 0, -1, 'WITHSCORES')
    for n = 2, #sizes, 2 do size = size + tonumber(sizes[n]) end
    return size <= most_bytes
end
local function remember(first_answer)
    redis.call('DEL', once)
    redis.call('HSET', once, 'task', id, 'digest', digest)
    if first_answer then redis.call('HSET', once, 'record', record) end
    redis.call('EXPIRE', once, remembered)
    redis.call('LREM', calls, 0, ARGV[first + 1])
    redis.call('RPUSH', calls, ARGV[first + 1])
    redis.call('EXPIRE', calls, remembered)
    if redis.call('LLEN', calls) > tonumber(most_calls) + 1 then
        local oldest = redis.call('LINDEX', calls, 1)
        redis.call('LREM', calls, 1, oldest)
        forget_call(prefix, id, oldest)
    end
end
local function write(is_new)
    redis.call('SET', task, record)
    local size = picture_bytes()
    if size ~= 0 then redis.call('ZINCRBY', bytes, size, id) end
    if removed ~= '' then redis.call('HDEL', pictures, removed) end
    for n = 10, first - 2, 2 do redis.call('HSET', pictures, ARGV[n], ARGV[n + 1]) end
    if has_payload == '1' then redis.call('SET', support, payload) end
    if expires == '' then
        redis.call('PERSIST', support)
        redis.call('PERSIST', pictures)
        redis.call('ZREM', expiries, id)
    else
        redis.call('PEXPIREAT', task, expires)
        redis.call('PEXPIREAT', support, expires)
        redis.call('PEXPIREAT', pictures, expires)
        redis.call('ZADD', expiries, expires, id)
    end
    if digest ~= '' then remember(is_new) end
end
local function is_over()
    local time = redis.call('TIME')
    return lives and expires ~= '' and tonumber(expires) <= time[1] * 1000 + time[2] / 1000
end
local function made_before()
    if digest == '' then return nil end
    local made = redis.call('HMGET', once, 'task', 'digest', 'record')
    return made[1] and redis.call('EXISTS', prefix .. 'task:' .. made[1]) == 1 and made
end
"""
)
# The last argument: the most live tasks or ''.
ADD = (
    WRITE
    + """
forget_expired()
local made = made_before()
if made then return {'made', made[1], made[2], made[3]} end
if last ~= '' and redis.call('ZCARD', tasks) >= tonumber(last) then return {'full'} end
if not has_room() then return {'no room'} end
if is_over() then return {'over'} end
redis.call('ZADD', tasks, redis.call('INCR', prefix .. 'number'), id)
write(true)
return {'added'}
"""
)
# The last argument: the revision to replace.
UPDATE = (
    WRITE
    + """
local stored, made = redis.call('GET', task), made_before()
if made and made[2] ~= digest then return 'conflict' end
if not stored or made then return 'changed' end
if cjson.decode(string.match(stored, '^[^\\n]*')).revision ~= tonumber(last) then return 'changed' end
forget_expired()
if not has_room() then return 'no room' end
if is_over() then return 'over' end
write(false)
return 'updated'
"""
)
# A Redis that has reached its `maxmemory` refuses every command between MULTI and EXEC. In a script it refuses only
# those that may take memory, so that tasks can be deleted and counted.
DELETE = (
    FORGET
    + """
local prefix, id = ARGV[1], ARGV[2]
if ARGV[3] then
  local stored = redis.call('GET', prefix .. 'task:' .. id)
  if not stored then return 0 end
  if cjson.decode(string.match(stored, '^[^\\n]*')).revision ~= tonumber(ARGV[3]) then return 0 end
end
redis.call('ZREM', prefix .. 'tasks', id)
redis.call('ZREM', prefix .. 'expiries', id)
redis.call('ZREM', prefix .. 'bytes', id)
forget_calls(prefix, id)
redis.call('DEL', prefix .. 'support:' .. id, prefix .. 'pictures:' .. id)
return redis.call('DEL', prefix .. 'task:' .. id)
"""
)
# Further ARGV: the time in milliseconds since 1970. Expired tasks stay in `tasks` until the next one is added.
COUNT = """
return redis.call('ZCARD', ARGV[1] .. 'tasks') - redis.call('ZCOUNT', ARGV[1] .. 'expiries', '-inf', ARGV[2])
"""
# MGET answers a key of another type as one that is not there; these do not. Further ARGV: a task's id.
READ_WITH_SUPPORT = """
return {redis.call('GET', ARGV[1] .. 'task:' .. ARGV[2]), redis.call('GET', ARGV[1] .. 'support:' .. ARGV[2])}
"""
# Further ARGV: the number where to begin, and how many tasks to find. Returns where the next call goes on, or '' at the
# end, and of each task its id, record and number; a record that cannot be read is empty. Expired tasks are passed over,
# at most 10,000 in a call, which others wait for.
PAGE = """
local prefix, following, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = {}
for _ = 1, 100 do
    local listed = redis.call('ZREVRANGEBYSCORE', prefix .. 'tasks', following, '-inf', 'WITHSCORES', 'LIMIT', 0, 100)
    if #listed == 0 then return {'', found} end
    for n = 1, #listed, 2 do
        local record = redis.pcall('GET', prefix .. 'task:' .. listed[n])
        following = '(' .. listed[n + 1]
        if record then
            table.insert(found, {listed[n], type(record) == 'table' and '' or record, listed[n + 1]})
            if #found == wanted then return {following, found} end
        end
    end
end
return {following, found}
"""
