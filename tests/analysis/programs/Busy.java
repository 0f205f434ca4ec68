// Threads that compute (compiled), wait (blocked) and sleep.
public class Busy {
    static volatile long sum;

    static long mix(long value, int depth) {
        return depth == 0 ? value * 31 + 7 : mix(value ^ (value >>> 3), depth - 1) + 1;
    }

    public static void main(String[] arguments) throws Exception {
        Object lock = new Object();
        Thread busy = new Thread(() -> { while (true) sum += mix(sum, 12); });
        Thread blocked = new Thread(() -> { synchronized (lock) { try { lock.wait(); } catch (InterruptedException e) { } } });
        busy.setDaemon(true);
        busy.start();
        blocked.start();
        System.out.println("ready");
        Thread.sleep(1000000);
    }
}
