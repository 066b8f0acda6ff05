extern void GonsoInit(void);
extern int GonsoRun(void);

int main(void) {
	GonsoInit();
	return GonsoRun();
}
